package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
)

// listenOptions are the flags that say where and how a command serves HTTP: those of all Prometheus exporters.
type listenOptions struct {
	addresses []string
	systemd   bool
	config    string
}

// The names of the flags, and an alias.
const (
	listenFlag  = "web.listen-address"
	systemdFlag = "web.systemd-socket"
	configFlag  = "web.config.file"
	listenAlias = "listen"
)

func (o *listenOptions) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == listenAlias {
			name = listenFlag
		}
		return pflag.NormalizedName(name)
	})
	flags.StringArrayVar(&o.addresses, listenFlag, []string{"127.0.0.1:9435"}, "listen on `HOST:PORT`; can be repeated; --"+listenAlias+" is the same")
	flags.BoolVar(&o.systemd, systemdFlag, false, "serve on the sockets that systemd passes (rbtool-exporter.socket)")
	flags.StringVar(&o.config, configFlag, "", "read TLS, client certificates and passwords from `FILE`")
	cmd.MarkFlagsMutuallyExclusive(listenFlag, systemdFlag)
	_ = cmd.MarkFlagFilename(configFlag, "yml", "yaml")
}

// check returns an error if an address is not of the form HOST:PORT.
func (o *listenOptions) check() error {
	for _, address := range o.addresses {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("--%s %s: not an address HOST:PORT such as 127.0.0.1:9435 or :9435", listenFlag, address)
		}
		if n, err := strconv.ParseUint(port, 10, 32); err != nil || n > 65535 {
			return fmt.Errorf("--%s %s: port %q is not a number up to 65535", listenFlag, address, port)
		}
	}
	return nil
}

// scheme checks the file of --web.config.file, and returns the scheme of the URLs to be served.
func (o *listenOptions) scheme() (string, error) {
	if o.config == "" {
		return "http", nil
	}
	err := web.Validate(o.config)
	var config web.Config
	if err == nil {
		var text []byte
		if text, err = os.ReadFile(o.config); err == nil {
			err = yaml.Unmarshal(text, &config)
		}
	}
	switch {
	case err != nil:
		err = fmt.Errorf("--%s %s: %w", configFlag, o.config, err)
		if notHash(err) {
			err = command.WithHint(err, "basic_auth_users has hashes, not passwords: htpasswd -nB USER prints one")
		}
		return "", err
	case config.TLSConfig.IsEnabled():
		return "https", nil
	}
	return "http", nil
}

// notHash reports whether err is that of bcrypt for text that is no hash.
func notHash(err error) bool {
	_, prefix := errors.AsType[bcrypt.InvalidHashPrefixError](err)
	return prefix || errors.Is(err, bcrypt.ErrHashTooShort)
}

// listen opens the sockets, at least one.
func (o *listenOptions) listen(ctx context.Context) ([]net.Listener, error) {
	if o.systemd {
		return systemdListeners()
	}
	var list []net.Listener
	for _, address := range o.addresses {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			for _, l := range list {
				l.Close()
			}
			return nil, listenError(address, err)
		}
		list = append(list, l)
	}
	return list, nil
}

func systemdListeners() ([]net.Listener, error) {
	passed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("listen on systemd's sockets: %w", err)
	}
	var list []net.Listener
	for _, l := range passed {
		if l != nil { // the descriptor is a socket that listens
			list = append(list, l)
		}
	}
	if len(list) == 0 {
		return nil, command.WithHint(errors.New("listen on systemd's sockets: none was passed"),
			"start it by its socket unit (systemctl start rbtool-exporter.socket), or leave out --%s", systemdFlag)
	}
	return list, nil
}

// listenError replaces the text of a net.OpError by one with address, and adds a hint.
func listenError(address string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	err = fmt.Errorf("listen on %s: %w", address, err)
	if errors.Is(err, unix.EADDRINUSE) {
		return command.WithHint(err, "another process listens there (ss -ltnp); choose another port with --%s", listenFlag)
	}
	return err
}

// serve serves handler on the listeners until ctx is done or one of them fails, and closes them. It writes what goes
// wrong with single connections to stderr.
func (o *listenOptions) serve(ctx context.Context, stderr io.Writer, listeners []net.Listener, handler http.Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	flags := &web.FlagConfig{WebConfigFile: &o.config}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var running sync.WaitGroup
	failures := make([]error, len(listeners))
	for i, l := range listeners {
		// web.Serve changes its server: a listener has one of its own.
		srv := &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute,
			ErrorLog:          log.New(stderr, "note: exporter: ", 0),
		}
		running.Go(func() {
			<-ctx.Done()
			grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			srv.Shutdown(grace)
		})
		running.Go(func() {
			defer stop()
			defer l.Close() // web.Serve leaves it open if it fails early
			if err := web.Serve(l, srv, flags, logger); !errors.Is(err, http.ErrServerClosed) {
				failures[i] = fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
		})
	}
	running.Wait()
	return errors.Join(failures...) // nil: the user stopped the command
}
