package arenaxdp_test

import (
	"fmt"
	"log"
	"net"
	"net/netip"
	"time"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/bpf/arenaxdp"
	"github.com/rbtool/rbtool/internal/netpair"
)

// get sends a request for a key to a server, again after a second without an answer, and returns the
// answer without its frame.
func get(conn net.Conn, key string) string {
	request := append([]byte{0, 1, 0, 0, 0, 1, 0, 0}, "get "+key+"\r\n"...)
	answer := make([]byte, 1400)
	for range 10 {
		if _, err := conn.Write(request); err != nil {
			continue
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := conn.Read(answer); err == nil {
			return string(answer[8:n])
		}
	}
	return "no answer"
}

// A client in one network namespace gets a value from an arena, by an XDP program in the other.
func ExampleAttach() {
	hosts, err := netpair.New()
	if err != nil {
		log.Fatal(err)
	}
	defer hosts.Close()

	a, err := arena.Create(arena.Options{Name: "colours", Size: 4 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	h, err := container.Format(a)
	if err != nil {
		log.Fatal(err)
	}
	kv, err := container.NewKV(h, "colours", 100)
	if err != nil {
		log.Fatal(err)
	}
	if err := kv.Put("sky", []byte("blue")); err != nil {
		log.Fatal(err)
	}

	var x *arenaxdp.Accelerator
	err = hosts.Server.Do(func() (err error) {
		x, err = arenaxdp.Attach(h, "colours", arenaxdp.Options{Interface: hosts.Server.Device})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	defer x.Close()

	var conn net.Conn
	err = hosts.Client.Do(func() (err error) {
		server := netip.AddrPortFrom(hosts.Server.IPv4, arenaxdp.DefaultPort)
		conn, err = net.Dial("udp", server.String())
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Printf("%q\n", get(conn, "sky"))

	counters, err := x.Counters()
	fmt.Println(counters.Hits > 0, err)
	// Output:
	// "VALUE sky 0 4\r\nblue\r\nEND\r\n"
	// true <nil>
}
