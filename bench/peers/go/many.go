// SPDX-License-Identifier: MIT

// A million goroutines.
package main

import (
	"log"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	crowd    = 1000 * 1000
	children = 10
)

// After the program of those who thought of this tree (github.com/atemerev/skynet). Buffered channels
// are slower here.
func skynet(answer chan int, first, size int) {
	if size == 1 {
		answer <- first
		return
	}
	answers := make(chan int)
	for i := 0; i < children; i++ {
		go skynet(answers, first+i*(size/children), size/children)
	}
	sum := 0
	for i := 0; i < children; i++ {
		sum += <-answers
	}
	answer <- sum
}

func skynetMs() float64 {
	answer := make(chan int)
	start := time.Now()
	go skynet(answer, 0, crowd)
	if <-answer != crowd*(crowd-1)/2 {
		log.Fatal("the sum of the tree")
	}
	return float64(time.Since(start)) / 1e6
}

func skynetMb() float64 {
	skynetMs()
	return statusBytes("VmHWM") / 1e6
}

// The bytes behind a field of /proc/self/status.
func statusBytes(field string) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == field+":" {
			kib, _ := strconv.Atoi(words[1])
			return float64(kib) * 1024
		}
	}
	log.Fatal("no " + field + " in /proc/self/status")
	return 0
}

func memoryBytes() float64 { return statusBytes("VmRSS") + statusBytes("VmPTE") }

func idleStart() {
	never := make(chan int)
	var idle int64
	for i := 0; i < crowd; i++ {
		go func() {
			atomic.AddInt64(&idle, 1)
			<-never
		}()
	}
	for atomic.LoadInt64(&idle) < crowd {
		runtime.Gosched()
	}
}

func idleBytes() float64 {
	before := memoryBytes()
	idleStart()
	return (memoryBytes() - before) / crowd
}

func idleCost() float64 {
	echo()
	alone := measure(roundtrips)
	idleStart()
	return measure(roundtrips) / alone
}

func cpuMs() float64 {
	var use syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e6
}

func timersCpuMs() float64 {
	before := cpuMs()
	random := rand.New(rand.NewSource(1))
	asleep := int64(crowd)
	done := make(chan int)
	for i := 0; i < crowd; i++ {
		delay := time.Duration(random.Int63n(int64(time.Second)))
		go func() {
			time.Sleep(delay)
			if atomic.AddInt64(&asleep, -1) == 0 {
				done <- 0
			}
		}()
	}
	<-done
	return cpuMs() - before
}
