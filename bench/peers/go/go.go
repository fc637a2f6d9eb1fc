// SPDX-License-Identifier: MIT

// Go: goroutines and channels on one thread (GOMAXPROCS=1, set by bench/run).
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
}

var figures = map[string]figure{
	"yield-2":   {func() { ring(2) }, func(n int) int { return yields(n, 2) }},
	"yield-10k": {func() { ring(many) }, func(n int) int { return yields(n, many) }},
	"spawn":     {func() {}, spawns},
	"roundtrip": {echo, roundtrips},
	"oneway":    {drain, oneways},
}

var (
	ours   = make(chan int, 1)
	theirs = make(chan int, batch)
	ended  int
	sum    int
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
			f.prepare()
			fmt.Printf("%.3f\n", measure(f.work))
			return
		}
	}
	fmt.Fprintln(os.Stderr, "usage: go FIGURE")
	os.Exit(2)
}
