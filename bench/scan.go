// What probe() is measured against: Go's own dialer, as many goroutines as
// there are to be attempts under way.
//
//	scan HOST HOSTS FIRST LAST CONCURRENCY TIMEOUT
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func number(i int) int {
	n, _ := strconv.Atoi(os.Args[i])
	return n
}

func main() {
	base := netip.MustParseAddr(os.Args[1]).As4()
	host := binary.BigEndian.Uint32(base[:])
	hosts, first, last := number(2), number(3), number(4)
	total := int64(hosts * (last - first + 1))
	dialer := net.Dialer{Timeout: time.Duration(number(6)) * time.Millisecond}
	var next, open, closed, filtered atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for n := number(5); n > 0; n-- {
		all.Add(1)
		go func() {
			defer all.Done()
			for {
				i := next.Add(1) - 1
				if i >= total {
					return
				}
				var bytes [4]byte
				binary.BigEndian.PutUint32(bytes[:], host+uint32(i%int64(hosts)))
				port := uint16(int64(first) + i/int64(hosts))
				to := netip.AddrPortFrom(netip.AddrFrom4(bytes), port)
				connection, err := dialer.Dial("tcp", to.String())
				switch {
				case err == nil:
					connection.(*net.TCPConn).SetLinger(0)
					connection.Close()
					open.Add(1)
				case errors.Is(err, os.ErrDeadlineExceeded):
					filtered.Add(1)
				default:
					closed.Add(1)
				}
			}
		}()
	}
	all.Wait()
	seconds := time.Since(start).Seconds()
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	cpu := float64(used.Utime.Nano()+used.Stime.Nano()) / 1e3 / float64(total)
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"open": open.Load(), "closed": closed.Load(), "filtered": filtered.Load(),
		"seconds": seconds, "cpu": cpu, "rss": float64(used.Maxrss) / 1e3,
	})
}
