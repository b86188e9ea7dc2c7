package arenaxdp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/arena"
)

func TestServerAnswers(t *testing.T) {
	_, kv := newKV(t)
	put(t, kv, "a", "1")
	put(t, kv, "b", "")
	big := strings.Repeat("v", arena.MaxValue)
	var many []string
	for i := range 6 {
		many = append(many, fmt.Sprint("big", i))
		put(t, kv, many[i], big)
	}
	a, b := "VALUE a 0 1\r\n1\r\n", "VALUE b 0 0\r\n\r\n"
	tests := []struct{ rule, request, want string }{
		{"a value", framed(7, "get a\r\n"), framed(7, a+"END\r\n")},
		{"several, of which some are there", framed(7, "get a x b\r\n"), framed(7, a+b+"END\r\n")},
		{"none", framed(7, "get x\r\n"), framed(7, "END\r\n")},
		{"a key that no table takes", framed(7, "get "+strings.Repeat("k", 64)+"\r\n"), framed(7, "END\r\n")},
		{"more than a datagram holds", framed(7, "get "+strings.Join(many, " ")+"\r\n"),
			framed(7, "SERVER_ERROR the values are too much for a datagram\r\n")},
		{"another command", framed(7, "set a 0 0 1\r\n"), framed(7, "ERROR\r\n")},
		{"no command", framed(7, "\r\n"), framed(7, "ERROR\r\n")},
		{"no key", framed(7, "get\r\n"), framed(7, "ERROR\r\n")},
		{"less than a frame is no request", "abc", ""},
		{"no end of the line", framed(7, "get a"), ""},
		{"a part of a request is none", "\x00\x07\x00\x00\x00\x02\x00\x00get a\r\n", ""},
		{"a second part neither", "\x00\x07\x00\x01\x00\x01\x00\x00get a\r\n", ""},
	}
	for _, tt := range tests {
		got, err := appendAnswer(nil, []byte(tt.request), kv)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %q, %v; want %q", tt.rule, got, err, tt.want)
		}
	}
}
