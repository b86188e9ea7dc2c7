package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// count is a flag for a number above 0; 0 when it is not given.
type count uint64

func (c *count) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return errors.New("not a number above 0")
	}
	*c = count(n)
	return nil
}

func (c *count) Type() string { return "count" }

func (c *count) String() string { return strconv.FormatUint(uint64(*c), 10) }

// perSecond is a flag for a rate above 0; 0 when it is not given.
type perSecond float64

func (r *perSecond) Set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0) { // NaN is not
		return errors.New("not a number above 0")
	}
	*r = perSecond(n)
	return nil
}

func (r *perSecond) Type() string { return "rate" }

func (r *perSecond) String() string { return strconv.FormatFloat(float64(*r), 'g', -1, 64) }

// duration is a flag for a time above 0; 0 when it is not given.
type duration time.Duration

func (d *duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil || v <= 0 {
		return errors.New("not a duration above 0, such as 250ms or 10s")
	}
	*d = duration(v)
	return nil
}

func (d *duration) Type() string { return "duration" }

func (d *duration) String() string {
	if *d == 0 {
		return "0" // which help leaves out
	}
	return time.Duration(*d).String()
}

// interval is a flag for the time from one look or run to the next, which is not shorter than least.
type interval struct{ value, least time.Duration }

func (i *interval) Set(text string) error {
	var d duration
	if err := d.Set(text); err != nil {
		return err
	}
	if time.Duration(d) < i.least {
		return fmt.Errorf("shorter than %v", i.least)
	}
	i.value = time.Duration(d)
	return nil
}

func (i *interval) Type() string { return "interval" }

func (i *interval) String() string { return i.value.String() }

// address is a flag for a place in memory.
type address uint64

func (a *address) Set(text string) error {
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return errors.New("not an address such as 0x120000000000")
	}
	*a = address(n)
	return nil
}

func (a *address) Type() string { return "address" }

func (a *address) String() string {
	if *a == 0 {
		return "" // which help leaves out
	}
	return fmt.Sprintf("%#x", uint64(*a))
}
