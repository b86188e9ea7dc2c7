package ring

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/fleet"
)

// engineOptions are the flags that say how to connect to a message engine.
type engineOptions struct {
	url   string
	creds string
	login string
	ca    string
	cert  string
	key   string

	address fleet.Address
}

func (o *engineOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.creds, "creds", "", "log in with the JWT and seed in `FILE`")
	f.StringVar(&o.login, "login", "", "log in with USER:PASSWORD, or a token, in `FILE`")
	f.StringVar(&o.ca, "tls-ca", "", "trust the certificate authorities in `FILE` (PEM)")
	f.StringVar(&o.cert, "tls-cert", "", "show the server the certificate in `FILE` (PEM)")
	f.StringVar(&o.key, "tls-key", "", "read the key of --tls-cert from `FILE` (PEM)")
	for _, name := range []string{"creds", "login", "tls-ca", "tls-cert", "tls-key"} {
		_ = cmd.MarkFlagFilename(name)
	}
}

// check parses the address. It returns a usage error for flags that contradict each other.
func (o *engineOptions) check(name string) (err error) {
	switch {
	case o.creds != "" && o.login != "":
		return command.Usagef("%s: --creds and --login exclude each other", name)
	case (o.cert == "") != (o.key == ""):
		return command.Usagef("%s: --tls-cert and --tls-key go together", name)
	}
	if o.address, err = fleet.ParseNATS(o.url); err != nil {
		return command.WithHint(command.Usagef("%s: %w", name, err), "nats://HOST/STREAM; --creds FILE or --login FILE logs in")
	}
	return nil
}

// nats returns how to connect.
func (o *engineOptions) nats(name string, state func(string)) fleet.NATSOptions {
	return fleet.NATSOptions{Name: name, Creds: o.creds, Login: o.login, CA: o.ca, Cert: o.cert, Key: o.key, State: state}
}

// explainEngine adds hints to errors of package fleet.
func explainEngine(err error) error {
	if errors.Is(err, fleet.ErrAway) {
		return command.WithHint(err, "is the address right, and is the server running?")
	}
	return err
}

// explainForward adds exit statuses and hints to errors of package fleet for a forwarder.
func explainForward(err error) error {
	switch {
	case errors.Is(err, fleet.ErrFenced):
		return command.WithHint(command.WithStatus(err, command.StatusBusy),
			"stop one of the forwarders; --host NAME gives this host a subject of its own")
	case errors.Is(err, fleet.ErrTooLarge):
		return command.WithHint(err, "raise the server's max_payload or the stream's maximum message size, or drop such records: --on-full drop")
	case errors.Is(err, fleet.ErrNoStream):
		return command.WithHint(err, "--create makes one with the default limits")
	}
	return explainEngine(err)
}
