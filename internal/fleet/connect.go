package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// NATSOptions say how to connect to a NATS server. The zero value connects without credentials, and checks certificates by the
// host's authorities.
type NATSOptions struct {
	Name  string // of the connection, as the server lists it
	Creds string // file with a user's JWT and seed
	Login string // file with USER:PASSWORD, or with a token
	CA    string // file with the authorities of the server's certificate, PEM
	Cert  string // files with the client's certificate and key, PEM
	Key   string

	// State is called when the connection or a place begins to wait, with the reason, and with "" when it goes on. Any
	// goroutine calls it. It may be nil.
	State func(waiting string)
}

// Pauses between attempts to connect or to store.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 2 * time.Second
)

// nextPause returns the pause after one of this length.
func nextPause(pause time.Duration) time.Duration { return min(2*pause, lastPause) }

// options returns the options of nats.go. kick is called when the connection is up again, and denied with an error for a
// subject that the user may not use.
func (o *NATSOptions) options(kick func(), denied func(error)) ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials are read again for each attempt: they may be renewed
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			return min(firstPause<<min(attempts, 10), lastPause)
		}),
		nats.ReconnectBufSize(-1), // what is not sent fails, and does not wait in memory
		nats.ReconnectHandler(func(*nats.Conn) {
			o.state("")
			kick()
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			o.state("the connection is lost")
			kick()
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { o.state(fmt.Sprintf("cannot connect: %v", plain(err))) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				denied(fmt.Errorf("%w: %v", ErrRefused, plain(err)))
			}
		}),
	}
	if o.Creds != "" {
		opts = append(opts, nats.UserCredentials(o.Creds))
	}
	if o.Login != "" {
		login, err := o.login()
		if err != nil {
			return nil, err
		}
		opts = append(opts, login)
	}
	if o.CA != "" {
		opts = append(opts, nats.RootCAs(o.CA))
	}
	if o.Cert != "" {
		opts = append(opts, nats.ClientCert(o.Cert, o.Key))
	}
	return opts, nil
}

// login returns the option for the content of the file Login. It is read once more for each attempt to connect.
func (o *NATSOptions) login() (nats.Option, error) {
	read := func() (user, password string, err error) {
		text, err := os.ReadFile(o.Login)
		user, password, _ = strings.Cut(strings.TrimSpace(string(text)), ":")
		return user, password, err
	}
	user, password, err := read()
	if err != nil {
		return nil, err
	}
	if password == "" {
		return nats.TokenHandler(func() string { user, _, _ := read(); return user }), nil
	}
	return nats.UserInfoHandler(func() (string, string) { user, password, _ = read(); return user, password }), nil
}

func (o *NATSOptions) state(waiting string) {
	if o.State != nil {
		o.State(waiting)
	}
}

// plain returns an error without the prefix of nats.go.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "nats: ") }

// dial connects to a server. A server that cannot be reached at once is an error: that is a wrong address more often than
// not.
func dial(server string, o *NATSOptions, kick func(), denied func(error)) (*nats.Conn, error) {
	opts, err := o.options(kick, denied)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(server, opts...)
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return nil, fmt.Errorf("connect to %s: %w these credentials: %v", server, ErrRefused, plain(err))
	case err != nil:
		return nil, fmt.Errorf("connect to %s: %s: %w", server, plain(err), ErrAway)
	}
	return nc, nil
}

// pauseFor waits for a pause, or until kick has something, or until ctx is done.
func pauseFor(ctx context.Context, pause time.Duration, kick <-chan struct{}) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-kick:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}
