// SPDX-License-Identifier: MIT

// Go: goroutines and channels on one thread (GOMAXPROCS=1, set by bench/run; for the figures of two
// cores 2). Figures of a million goroutines are in many.go.
//
// Channels are buffered, as a mailbox is. The collector stays on, as in every Go program.
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

const (
	batch = 1000  // in a batch of one-way messages
	many  = 10000 // ready goroutines of the figure yield-10k
)

type figure struct {
	prepare func()
	work    func(n int) int // does n operations or a few more, and says how many
	value   func() float64  // measures by itself, instead of these two
}

var figures = map[string]figure{
	"yield-2":             {prepare: func() { ring(2) }, work: func(n int) int { return yields(n, 2) }},
	"yield-10k":           {prepare: func() { ring(many) }, work: func(n int) int { return yields(n, many) }},
	"spawn":               {prepare: func() {}, work: spawns},
	"roundtrip":           {prepare: echo, work: roundtrips},
	"oneway":              {prepare: drain, work: oneways},
	"broadcast-1000":      {prepare: listen, work: broadcasts},
	"ring-503":            {prepare: tokenRing, work: hops},
	"skynet-1m":           {value: skynetMs},
	"skynet-1m-mb":        {value: skynetMb},
	"idle-bytes":          {value: idleBytes},
	"timers-1m-cpu":       {value: timersCpuMs},
	"timers-1m-cpu-small": {value: timersCpuMs},
	"idle-cost":           {value: idleCost},
	"cross-roundtrip":     {prepare: func() { apart(echo) }, work: roundtrips},
	"cross-oneway":        {prepare: func() { apart(drain) }, work: oneways},
	"echo":                {value: echoServe},
}

var (
	ours   = make(chan int, 1)
	theirs = make(chan int, batch)
	ended  int
	sum    int
	heard  int

	listeners [1000]chan int
	places    [503]chan int // of the ring: who stands there gets the token through it

	lockPartner bool // the partner has a thread of its own
)

func ring(n int) {
	for i := 1; i < n; i++ {
		go func() {
			for {
				runtime.Gosched()
			}
		}()
	}
}

func yields(n, ring int) int {
	done := 0
	for ; done < n; done += ring {
		runtime.Gosched()
	}
	return done
}

func spawns(n int) int {
	before := ended
	for ended-before < n {
		go func() { ended++ }()
		runtime.Gosched()
	}
	return ended - before
}

func echo() {
	go func() {
		lockIfApart()
		for {
			ours <- <-theirs + 1
		}
	}()
}

func roundtrips(n int) int {
	number := 0
	for i := 0; i < n; i++ {
		theirs <- number
		number = <-ours
	}
	return number
}

func drain() {
	go func() {
		lockIfApart()
		for {
			for i := 0; i < batch; i++ {
				sum += <-theirs
			}
			ours <- 0
		}
	}()
}

func oneways(n int) int {
	done := 0
	for ; done < n; done += batch {
		for i := 0; i < batch; i++ {
			theirs <- i
		}
		<-ours // the batch has been taken
	}
	return done
}

func lockIfApart() {
	if lockPartner {
		runtime.LockOSThread()
	}
}

// To a goroutine that is bound to another thread: nothing else keeps two that talk to each other on
// two cores.
func apart(start func()) {
	lockPartner = true
	runtime.LockOSThread()
	start()
}

func listen() {
	for i := range listeners {
		mine := make(chan int, 1)
		listeners[i] = mine
		go func() {
			for number := range mine {
				sum += number
				heard++
			}
		}()
	}
	runtime.Gosched()
}

func broadcasts(n int) int {
	before, done := heard, 0
	for ; done < n; done += len(listeners) {
		for _, listener := range listeners {
			listener <- 1
		}
		for heard-before < done+len(listeners) {
			runtime.Gosched()
		}
	}
	return done
}

func tokenRing() {
	for i := range places {
		places[i] = make(chan int, 1)
	}
	for i := range places {
		mine, next := places[i], places[(i+1)%len(places)]
		go func() {
			for left := range mine {
				if left > 0 {
					next <- left - 1
				} else {
					ours <- 0
				}
			}
		}()
	}
}

func hops(n int) int {
	places[0] <- n
	<-ours
	return n
}

// The same procedure as measure.h.
func measure(work func(int) int) float64 {
	const warm, run = 60 * time.Millisecond, 300 * time.Millisecond
	n := 1000
	for {
		start := time.Now()
		done := work(n)
		took := time.Since(start)
		if took >= warm {
			n = int(float64(done)*float64(run)/float64(took)) + 1
			break
		}
		n *= 2
	}
	start := time.Now()
	done := work(n)
	return float64(time.Since(start)) / float64(done)
}

func main() {
	if len(os.Args) == 2 {
		if f, ok := figures[os.Args[1]]; ok {
			if f.value != nil {
				fmt.Printf("%.3f\n", f.value())
				return
			}
			f.prepare()
			fmt.Printf("%.3f\n", measure(f.work))
			return
		}
	}
	fmt.Fprintln(os.Stderr, "usage: go FIGURE")
	os.Exit(2)
}
