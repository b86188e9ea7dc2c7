package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Count is a flag for a number above 0. It is 0 if the flag is not given.
type Count uint64

func (c *Count) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return errors.New("not a number above 0")
	}
	*c = Count(n)
	return nil
}

func (c *Count) Type() string { return "count" }

func (c *Count) String() string { return strconv.FormatUint(uint64(*c), 10) }

// Duration is a flag for a duration above 0, in seconds if it has no unit. It is 0 if the flag is not given.
type Duration time.Duration

func (d *Duration) Set(text string) error {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		text += "s" // as for sleep(1) and timeout(1)
	}
	v, err := parseDuration(text)
	if err != nil || v <= 0 {
		return errors.New("not a duration above 0, such as 250ms or 10s")
	}
	*d = Duration(v)
	return nil
}

// parseDuration is [time.ParseDuration], also of days: "1d" or "1d12h".
func parseDuration(text string) (time.Duration, error) {
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || rest == "" {
		return time.Duration(n) * 24 * time.Hour, err
	}
	v, err := time.ParseDuration(rest)
	if v < 0 {
		return 0, strconv.ErrSyntax
	}
	return time.Duration(n)*24*time.Hour + v, err
}

func (d *Duration) Type() string { return "duration" }

func (d *Duration) String() string {
	if *d == 0 {
		return "0" // help does not show a default of 0
	}
	return time.Duration(*d).String()
}

// Interval is a flag for a duration of at least Least between two samples or runs.
type Interval struct{ Value, Least time.Duration }

func (i *Interval) Set(text string) error {
	var d Duration
	if err := d.Set(text); err != nil {
		return err
	}
	if time.Duration(d) < i.Least {
		return fmt.Errorf("shorter than %v", i.Least)
	}
	i.Value = time.Duration(d)
	return nil
}

func (i *Interval) Type() string { return "interval" }

func (i *Interval) String() string { return i.Value.String() }

// Address is a flag for an address in memory.
type Address uint64

func (a *Address) Set(text string) error {
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return errors.New("not an address such as 0x120000000000")
	}
	*a = Address(n)
	return nil
}

func (a *Address) Type() string { return "address" }

func (a *Address) String() string {
	if *a == 0 {
		return "" // help does not show an empty default
	}
	return fmt.Sprintf("%#x", uint64(*a))
}
