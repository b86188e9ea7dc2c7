package arenaxdp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/arena/container"
)

func TestServerAnswers(t *testing.T) {
	_, kv := newKV(t)
	put(t, kv, "a", "1")
	put(t, kv, "b", "")
	big := strings.Repeat("v", container.MaxValue)
	var many []string
	for i := range 6 {
		many = append(many, fmt.Sprint("big", i))
		put(t, kv, many[i], big)
	}
	a, b := "VALUE a 0 1\r\n1\r\n", "VALUE b 0 0\r\n\r\n"
	tests := []struct{ rule, request, want string }{
		{"a value", framed(7, "get a\r\n"), framed(7, a+"END\r\n")},
		{"several keys, of which one is absent", framed(7, "get a x b\r\n"), framed(7, a+b+"END\r\n")},
		{"an absent key", framed(7, "get x\r\n"), framed(7, "END\r\n")},
		{"a key that no table takes", framed(7, "get "+strings.Repeat("k", 64)+"\r\n"), framed(7, "END\r\n")},
		{"more than a datagram holds", framed(7, "get "+strings.Join(many, " ")+"\r\n"),
			framed(7, "SERVER_ERROR the values are too large for a datagram\r\n")},
		{"another command", framed(7, "set a 0 0 1\r\n"), framed(7, "ERROR\r\n")},
		{"a key twice", framed(7, "get a a b a  b\r\n"), framed(7, a+b+"END\r\n")},
		{"a command with data", framed(7, "set a 0 0 1\r\nx\r\n"), framed(7, "ERROR\r\n")},
		{"no command is no request", framed(7, "\r\n"), ""},
		{"a word that is no command", framed(7, "hello\r\n"), ""},
		{"an upper case command", framed(7, "GET a\r\n"), ""},
		{"a second command", framed(7, "get a\r\nget b\r\n"), ""},
		{"a control character", framed(7, "get a\tb\r\n"), ""},
		{"a server's error", framed(7, "ERROR\r\n"), ""},
		{"a server's explained error", framed(7, "SERVER_ERROR out of memory\r\n"), ""},
		{"a server's complaint", framed(7, "CLIENT_ERROR bad data chunk\r\n"), ""},
		{"a server's end", framed(7, "END\r\n"), ""},
		{"a server's value", framed(7, "VALUE a 0 1\r\n1\r\nEND\r\n"), ""},
		{"a server's word", framed(7, "STORED\r\n"), ""},
		{"a server's version", framed(7, "VERSION 1.6.38\r\n"), ""},
		{"a server's number", framed(7, "5\r\n"), ""},
		{"a server's meta answer", framed(7, "EN\r\n"), ""},
		{"no key", framed(7, "get\r\n"), framed(7, "ERROR\r\n")},
		{"less than a frame is no request", "abc", ""},
		{"no end of the line", framed(7, "get a"), ""},
		{"a part of a request is none", "\x00\x07\x00\x00\x00\x02\x00\x00get a\r\n", ""},
		{"a second part of a request is none", "\x00\x07\x00\x01\x00\x01\x00\x00get a\r\n", ""},
	}
	for _, tt := range tests {
		var got []byte
		c, ok := parseCommand([]byte(tt.request))
		if ok {
			var err error
			if got, err = c.appendAnswer(nil, kv, maxAnswer); err != nil {
				t.Errorf("%s: %v", tt.rule, err)
			}
		}
		if string(got) != tt.want {
			t.Errorf("%s: got %q, want %q", tt.rule, got, tt.want)
		}
	}
}

// No answer is a command, whatever keys and values it holds. So two servers do not answer each other.
func TestAnswersAreNoRequests(t *testing.T) {
	_, kv := newKV(t)
	put(t, kv, "get", "get get\r\n")
	for _, text := range []string{"get get", "get x", "get", "set get 0 0 1", "stats"} {
		c, ok := parseCommand([]byte(framed(7, text+"\r\n")))
		if !ok {
			t.Fatalf("%q is no command", text)
		}
		reply, err := c.appendAnswer(nil, kv, maxAnswer)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := parseCommand(reply); ok {
			t.Errorf("%q: the answer %q is a command", text, reply)
		}
	}
}

func TestServersAnswersFitTheRequest(t *testing.T) {
	_, kv := newKV(t)
	put(t, kv, "a", strings.Repeat("v", container.MaxValue))
	c, ok := parseCommand([]byte(framed(7, "get a\r\n")))
	if !ok {
		t.Fatal("no command")
	}
	complaint := framed(7, "SERVER_ERROR the values are too large for the request\r\n")
	whole := framed(7, answer("a", strings.Repeat("v", container.MaxValue)))
	for limit := range len(whole) + 2 {
		got, err := c.appendAnswer([]byte("before"), kv, limit)
		want := ""
		switch {
		case limit >= len(whole):
			want = whole
		case limit >= len(complaint):
			want = complaint
		}
		if err != nil || string(got) != "before"+want {
			t.Fatalf("at most %d bytes: %q, %v", limit, got, err)
		}
	}
}

func FuzzCommand(f *testing.F) {
	_, kv := newKV(f)
	put(f, kv, "a", "1")
	for _, text := range []string{"get a\r\n", "get a a b\r\n", "ERROR\r\n", "set a 0 0 1\r\n1\r\n"} {
		f.Add([]byte(framed(7, text)), 100)
	}
	f.Fuzz(func(t *testing.T, request []byte, limit int) {
		c, ok := parseCommand(request)
		if !ok {
			return
		}
		reply, err := c.appendAnswer(nil, kv, limit)
		if err != nil || len(reply) > max(0, limit) {
			t.Errorf("%q, at most %d: %q, %v", request, limit, reply, err)
		}
		if _, ok := parseCommand(reply); ok {
			t.Errorf("%q: the answer %q is a command", request, reply)
		}
	})
}
