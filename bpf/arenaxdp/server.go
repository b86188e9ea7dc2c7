package arenaxdp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena/container"
)

// Server answers requests in this process, by the same rules as the program. If an [Accelerator] serves the
// same interface, the Server answers the requests that the program passes on. Any number of goroutines may
// call Counters at any time. Serve may be called once, and Close after Serve has returned.
type Server struct {
	kv   *container.KV
	opts Options
	dev  *device
	conn *net.UDPConn

	reach    atomic.Pointer[reach]
	outcomes [outcomes]atomic.Uint64
}

// Listen opens a socket that receives only datagrams from opts.Interface, an interface of the calling
// thread's network namespace. The caller closes the Server, and keeps the arena of kv open until Serve has
// returned.
//
// Errors match fs.ErrNotExist if there is no such interface, and EADDRINUSE if another server uses the
// port. As [Attach] does, Listen refuses the loopback device and an interface without addresses.
func Listen(kv *container.KV, opts Options) (*Server, error) {
	s, err := listen(kv, opts)
	if err != nil {
		return nil, fmt.Errorf("serve on interface %q: %w", opts.Interface, err)
	}
	return s, nil
}

func listen(kv *container.KV, opts Options) (_ *Server, err error) {
	if opts, err = opts.complete(); err != nil {
		return nil, err
	}
	s := &Server{kv: kv, opts: opts}
	if s.dev, err = openDevice(opts.Interface); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.dev.close()
		}
	}()
	r, err := s.dev.reach(opts)
	if err != nil {
		return nil, err
	}
	s.reach.Store(r)
	s.conn, err = bind(opts.Interface, opts.Port)
	return s, err
}

// bind returns a UDP socket for a port of an interface, for IPv4 and IPv6. With each datagram, the socket
// returns a control message that holds the datagram's destination address.
func bind(device string, port uint16) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(family, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO // also applies to IPv4 datagrams
			if family == "udp4" {
				level, option = unix.IPPROTO_IP, unix.IP_PKTINFO // the host has no IPv6
			}
			failed = errors.Join(
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device),
				unix.SetsockoptInt(int(fd), level, option, 1),
			)
		})
		return errors.Join(err, failed)
	}}
	conn, err := config.ListenPacket(context.Background(), "udp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// Close closes the socket. Call it once, after Serve has returned.
func (s *Server) Close() error {
	s.dev.close()
	return s.conn.Close()
}

// Serve answers requests until ctx ends, and then returns nil. It returns earlier with an error if a socket
// fails, or if the arena is closed. It follows changes of the interface's addresses. Call it once.
//
// It answers a get of any number of keys if the values fit into one datagram. A repeated key is answered
// once. Other commands of memcached get ERROR. Other datagrams get no answer.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followed := make(chan error, 1)
	go func() {
		defer cancel()
		followed <- s.dev.follow(ctx, s.opts, func(r *reach) error { s.reach.Store(r); return nil })
	}()
	err := s.serve(ctx)
	cancel()
	if err = errors.Join(err, <-followed); err != nil {
		return fmt.Errorf("serve on interface %q: %w", s.opts.Interface, err)
	}
	return nil
}

func (s *Server) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var request [1 << 16]byte
	var control [128]byte
	reply := make([]byte, 0, maxAnswer)
	for {
		n, controlLen, _, from, err := s.conn.ReadMsgUDPAddrPort(request[:], control[:])
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		result, err := s.answer(&reply, request[:n], from, sentTo(control[:controlLen]))
		if err != nil {
			return err
		}
		s.outcomes[result].Add(1)
		if result == answered {
			// The same control message sets the answer's source to the request's destination.
			// Ignore errors: a client may be unreachable.
			_, _, _ = s.conn.WriteMsgUDPAddrPort(reply, control[:controlLen], from)
		}
	}
}

// sentTo returns the destination address in a control message of bind's socket, or the zero Addr if the
// message has none.
func sentTo(control []byte) netip.Addr {
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		switch {
		case err != nil:
			return netip.Addr{}
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data)).Unmap()
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[8:])) // ipi_addr
		}
		control = rest
	}
	return netip.Addr{}
}

// outcome is the result of processing a datagram.
type outcome int

const (
	answered outcome = iota
	noRequest
	notLocal
	fromServer
	fromElsewhere
	tooLarge
	outcomes
)

// answer processes a datagram. If the outcome is answered, it sets reply to the answer. The error is one
// of package container.
func (s *Server) answer(reply *[]byte, request []byte, from netip.AddrPort, to netip.Addr) (outcome, error) {
	r := s.reach.Load()
	switch {
	case !slices.Contains(r.local, to):
		return notLocal, nil
	case isServerPort(from.Port(), s.opts.Port):
		return fromServer, nil
	case !r.mayAsk(from.Addr()):
		return fromElsewhere, nil
	}
	c, ok := parseCommand(request)
	if !ok {
		return noRequest, nil
	}
	headers := 40 + 8 // sizes of the IPv6 and UDP headers
	if to.Is4() {
		headers = 20 + 8
	}
	limit := s.opts.Growth*(headers+len(request)) - headers
	var err error
	if *reply, err = c.appendAnswer((*reply)[:0], s.kv, limit); err != nil {
		return noRequest, err
	}
	if len(*reply) == 0 {
		return tooLarge, nil
	}
	return answered, nil
}

// isServerPort reports whether servers use the port p: this server's port, memcached's, or a privileged
// port. It has the rules of is_server_port in request.h.
func isServerPort(p, own uint16) bool { return p == own || p == DefaultPort || p < 1024 }

// ServerCounters counts the datagrams that a [Server] received, by outcome.
type ServerCounters struct {
	Answered  uint64 // answered, also with ERROR or SERVER_ERROR
	NoRequest uint64 // not a whole command of memcached
	NotLocal  uint64 // sent to an address that the interface does not have
	// Datagrams that may be requests and must not be answered:
	ServerPorts uint64 // they come from a port that servers use
	Sources     uint64 // they come from an address that is not allowed
	Large       uint64 // the answer would exceed Options.Growth
}

// Counters returns the numbers of datagrams since Listen.
func (s *Server) Counters() ServerCounters {
	n := func(o outcome) uint64 { return s.outcomes[o].Load() }
	return ServerCounters{
		Answered: n(answered), NoRequest: n(noRequest), NotLocal: n(notLocal),
		ServerPorts: n(fromServer), Sources: n(fromElsewhere), Large: n(tooLarge),
	}
}
