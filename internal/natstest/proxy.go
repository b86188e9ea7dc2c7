package natstest

import (
	"io"
	"net"
	"sync"
)

// Proxy is a TCP proxy in front of a server, whose network can be cut.
type Proxy struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
	ended sync.WaitGroup
}

// NewProxy returns a Proxy for the server at address. The caller calls Close.
func NewProxy(address string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, server: address, conns: map[net.Conn]bool{}}
	p.ended.Go(p.accept)
	return p, nil
}

// Addr returns the address at which the Proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.ended.Go(func() { p.serve(c) })
	}
}

// serve copies between a client and the server until one of them ends, or the network is cut.
func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		client.Close()
		return
	}
	if !p.add(client, server) {
		return
	}
	copied := func(to, from net.Conn) {
		io.Copy(to, from)
		p.remove(client, server)
	}
	p.ended.Go(func() { copied(server, client) })
	copied(client, server)
}

// add notes the ends of a connection, or closes them if the network is cut.
func (p *Proxy) add(ends ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range ends {
		if p.cut {
			c.Close()
		} else {
			p.conns[c] = true
		}
	}
	return !p.cut
}

func (p *Proxy) remove(ends ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range ends {
		c.Close()
		delete(p.conns, c)
	}
}

// Cut ends all connections, and later ones as soon as they come, until it is called with false.
func (p *Proxy) Cut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if !cut {
		return
	}
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

// Close ends the Proxy and its connections.
func (p *Proxy) Close() {
	p.listener.Close()
	p.Cut(true)
	p.ended.Wait()
}
