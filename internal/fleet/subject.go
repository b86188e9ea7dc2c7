package fleet

import (
	"fmt"
	"net/url"
	"strings"
)

// Subject returns the subject of a ring's batches in a stream: the names of the stream, the host and the ring. Characters
// that a subject's token cannot have are % and two hexadecimal digits.
func Subject(stream, host, ring string) string {
	return strings.Join([]string{stream, token(host), token(ring)}, ".")
}

// token escapes a name. What separates tokens, stands for others, or is not printable ASCII is escaped, and so is '%'.
func token(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(".*>%", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Address is where a stream is.
type Address struct {
	Server string // URL of the server, without a path
	Stream string
}

// ParseNATS parses nats://HOST[:PORT]/STREAM or tls://HOST[:PORT]/STREAM. Credentials in it are an error.
func ParseNATS(text string) (a Address, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return a, err
	}
	stream := strings.TrimPrefix(u.Path, "/")
	switch {
	case u.Scheme != "nats" && u.Scheme != "tls":
		return a, fmt.Errorf("%q is not nats://HOST/STREAM", text)
	case u.User != nil:
		return a, fmt.Errorf("%s has credentials, which every process of this host can read", u.Redacted())
	case u.Hostname() == "":
		return a, fmt.Errorf("%q has no host", text)
	case stream == "" || stream != token(stream) || strings.Contains(stream, "/"):
		return a, fmt.Errorf("%q has no name of a stream after the host", text)
	case u.RawQuery != "" || u.Fragment != "":
		return a, fmt.Errorf("%q has more than a host and a stream", text)
	}
	return Address{u.Scheme + "://" + u.Host, stream}, nil
}
