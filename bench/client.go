// The work of a round with Go's net.Dial; the lines are those of floor.c's client.
//
//	client HOSTS PORT REFUSED DIR
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const spread = 16

// An address as net.Dial wants it, and the network that it is in.
type target struct{ network, address string }

var targets, refusers, paths []target

func dial(t target) error {
	connection, err := net.Dial(t.network, t.address)
	if err != nil {
		return err
	}
	return connection.Close()
}

func connect(all []target) func(int) error {
	return func(i int) error { return dial(all[i%len(all)]) }
}

func refuse(i int) error {
	err := dial(refusers[i%len(refusers)])
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return fmt.Errorf("no refusal: %v", err)
}

// Asks the port i + 1. Go itself tries again where a connect has reached itself.
func ask(i int) error {
	host, open, _ := net.SplitHostPort(targets[0].address)
	port := strconv.Itoa(i + 1)
	err := dial(target{"tcp", net.JoinHostPort(host, port)})
	if (err == nil) != (port == open) || err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("port %s: %v", port, err)
	}
	return nil
}

// Does the work again and again, by so many goroutines.
func run(count, concurrency int, once func(int) error) {
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
			if err := once(int(i)); err != nil {
				die(err)
			}
		}
	}
	if concurrency == 1 {
		work()
		return
	}
	var group sync.WaitGroup
	for i := 0; i < concurrency; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			work()
		}()
	}
	group.Wait()
}

func cpuTime() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		die(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func die(err error) {
	fmt.Fprintln(os.Stderr, "client.go:", err)
	os.Exit(1)
}

func main() {
	for _, host := range strings.Split(os.Args[1], ",") {
		targets = append(targets, target{"tcp", net.JoinHostPort(host, os.Args[2])})
		refusers = append(refusers, target{"tcp", net.JoinHostPort(host, os.Args[3])})
	}
	for i := 0; i < spread; i++ {
		paths = append(paths, target{"unix", fmt.Sprintf("%s/%d", os.Args[4], i)})
	}
	kinds := map[string]func(int) error{
		"blocking":    connect(targets),
		"nonblocking": connect(targets),
		"refused":     refuse,
		"thrown":      refuse,
		"unix":        connect(paths),
		"flight":      connect(targets),
		"scan":        ask,
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var kind string
		var count, concurrency int
		fmt.Sscanf(lines.Text(), "round %s %d %d", &kind, &count, &concurrency)
		cpu, wall := cpuTime(), time.Now()
		run(count, concurrency, kinds[kind])
		passed := time.Since(wall)
		fmt.Println(passed.Nanoseconds(), cpuTime()-cpu)
	}
}
