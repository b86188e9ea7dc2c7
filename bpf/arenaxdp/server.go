package arenaxdp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/rbtool/rbtool/arena"
)

// frameSize is the size of struct frame.
const frameSize = 8

// maxAnswer is the longest answer that Serve gives, with its frame: what memcached puts
// into a datagram.
const maxAnswer = 1400

// Serve answers the requests that come to conn, from kv, until ctx ends, for which it returns
// nil. It knows get with any number of keys whose values fit into one datagram; to other
// commands it answers ERROR, to no request nothing. Beside an [Accelerator] it gets what
// that one leaves. conn stays the caller's.
func Serve(ctx context.Context, conn *net.UDPConn, kv *arena.KV) error {
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var request [1 << 16]byte
	answer := make([]byte, 0, maxAnswer)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(request[:])
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		answer, err = appendAnswer(answer[:0], request[:n], kv)
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		if len(answer) > 0 {
			// A client that is gone, or unreachable, is no reason to stop.
			_, _ = conn.WriteToUDPAddrPort(answer, from)
		}
	}
}

// appendAnswer appends the answer to a datagram, of which there is none to one that is no
// request. An error is one of the arena.
func appendAnswer(to, request []byte, kv *arena.KV) ([]byte, error) {
	if len(request) < frameSize || binary.BigEndian.Uint16(request[2:]) != 0 || binary.BigEndian.Uint16(request[4:]) != 1 {
		return to, nil
	}
	line, ok := bytes.CutSuffix(request[frameSize:], []byte("\r\n"))
	if !ok {
		return to, nil
	}
	to = append(to, request[:2]...)
	to = append(to, 0, 0, 0, 1, 0, 0)
	words := bytes.Fields(line)
	if len(words) < 2 || string(words[0]) != "get" {
		return append(to, "ERROR\r\n"...), nil
	}
	for _, key := range words[1:] {
		value, err := kv.Get(string(key))
		switch {
		case errors.Is(err, arena.ErrNotFound), errors.Is(err, arena.ErrTooLarge):
			continue
		case errors.Is(err, arena.ErrBusy), errors.Is(err, arena.ErrCorrupt):
			return append(to[:frameSize], "SERVER_ERROR "+err.Error()+"\r\n"...), nil
		case err != nil:
			return to, err
		}
		to = append(to, "VALUE "...)
		to = append(to, key...)
		to = append(to, " 0 "...)
		to = strconv.AppendInt(to, int64(len(value)), 10)
		to = append(to, "\r\n"...)
		to = append(to, value...)
		to = append(to, "\r\n"...)
		if len(to)+len("END\r\n") > maxAnswer {
			return append(to[:frameSize], "SERVER_ERROR the values are too much for a datagram\r\n"...), nil
		}
	}
	return append(to, "END\r\n"...), nil
}
