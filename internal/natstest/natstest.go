// Package natstest runs NATS servers for tests.
package natstest

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startWait is how long a server may take to listen.
const startWait = time.Minute

// Start starts a server with JetStream that keeps its streams in dir. port is that of 127.0.0.1 on which it listens, or -1 for
// any. change may change its options, and may be nil. The caller calls Stop.
func Start(dir string, port int, change func(*server.Options)) (*server.Server, error) {
	opts := &server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true}
	if change != nil {
		change(opts)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(startWait) {
		s.Shutdown()
		return nil, errors.New("the NATS server does not listen")
	}
	return s, nil
}

// Stop stops a server and waits until it has ended.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}
