package arenaxdp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
)

// frameSize is the size of struct frame.
const frameSize = 8

// maxAnswer is the maximum size of a server's answer, with its frame, in bytes. memcached has the same
// limit.
const maxAnswer = 1400

// command is a client's command, in one datagram.
type command struct {
	id   [2]byte // id in its frame
	name string
	keys []string // keys of a get, without duplicates
}

// parseCommand parses the command in a datagram. ok is false if the datagram is not a command. Answers of
// servers are not commands: they begin with a capital letter or a digit.
func parseCommand(request []byte) (c command, ok bool) {
	if len(request) < frameSize || binary.BigEndian.Uint16(request[2:]) != 0 || binary.BigEndian.Uint16(request[4:]) != 1 {
		return c, false
	}
	line, rest, ok := bytes.Cut(request[frameSize:], []byte("\r\n"))
	if !ok || bytes.ContainsFunc(line, isControl) {
		return c, false
	}
	words := bytes.Split(line, []byte(" "))
	c = command{id: [2]byte(request), name: string(words[0])}
	if !isCommand(c.name) {
		return c, false
	}
	if c.name != "get" {
		return c, true
	}
	seen := make(map[string]bool, len(words))
	for _, w := range words[1:] {
		if key := string(w); key != "" && !seen[key] {
			seen[key] = true
			c.keys = append(c.keys, key)
		}
	}
	return c, len(rest) == 0
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// isCommand reports whether word is the first word of a command of memcached's text protocol.
func isCommand(word string) bool {
	switch word {
	case "get", "gets", "gat", "gats",
		"set", "add", "replace", "append", "prepend", "cas",
		"delete", "incr", "decr", "touch",
		"mg", "ms", "md", "ma", "me", "mn",
		"version", "stats", "verbosity", "flush_all", "quit",
		"cache_memlimit", "slabs", "lru", "lru_crawler", "watch", "misbehave", "refresh_certs", "shutdown":
		return true
	}
	return false
}

// Texts of SERVER_ERROR.
const (
	tooMuchForDatagram = "the values are too large for a datagram"
	tooMuchForRequest  = "the values are too large for the request"
)

// appendAnswer appends the answer to to. The answer has at most limit bytes, with its frame. If no answer
// fits, appendAnswer appends nothing. The error is one of package container.
//
// If the values of a get do not fit, the answer is SERVER_ERROR. END would mean that the keys are absent.
func (c *command) appendAnswer(to []byte, kv *container.KV, limit int) ([]byte, error) {
	start := len(to)
	to = append(to, c.id[0], c.id[1], 0, 0, 0, 1, 0, 0)
	text := len(to)
	why := tooMuchForDatagram
	if limit < maxAnswer {
		why = tooMuchForRequest
	}
	most := start + min(limit, maxAnswer)
	to, err := c.appendText(to, kv, most)
	switch {
	case errors.Is(err, container.ErrContended), errors.Is(err, container.ErrCorrupt), errors.Is(err, arena.ErrAbsent):
		why = err.Error()
	case err != nil:
		return to, err
	case len(to) <= most:
		return to, nil
	}
	to = append(to[:text], "SERVER_ERROR "+why+"\r\n"...)
	if len(to) > most {
		return to[:start], nil
	}
	return to, nil
}

// appendText appends the values of the keys that are present, and END. If the command has no keys, it
// appends ERROR. It stops once to is longer than most bytes.
func (c *command) appendText(to []byte, kv *container.KV, most int) ([]byte, error) {
	if len(c.keys) == 0 {
		return append(to, "ERROR\r\n"...), nil
	}
	for _, key := range c.keys {
		value, err := kv.Get(key)
		if errors.Is(err, container.ErrNotFound) || errors.Is(err, container.ErrTooLarge) {
			continue
		}
		if err != nil {
			return to, err
		}
		to = append(to, "VALUE "...)
		to = append(to, key...)
		to = append(to, " 0 "...)
		to = strconv.AppendInt(to, int64(len(value)), 10)
		to = append(to, "\r\n"...)
		to = append(to, value...)
		to = append(to, "\r\n"...)
		if len(to) > most {
			return to, nil
		}
	}
	return append(to, "END\r\n"...), nil
}
