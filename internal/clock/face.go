package clock

import "time"

// Face appends times as text. It formats a second only when it changes, which makes it cheap for times that
// follow each other. One goroutine at a time may use a Face.
type Face struct {
	layout string // of the second; "" is the time of day, after the date if that is not today's
	suffix string
	zone   *time.Location
	second int64
	text   []byte // of second; nil before the first time
}

// NewRFC3339 returns a Face that shows times as RFC 3339 has them, in UTC.
func NewRFC3339() *Face { return &Face{layout: "2006-01-02T15:04:05.", suffix: "Z", zone: time.UTC} }

// NewTimeOfDay returns a Face that shows times in a zone as 15:04:05, or 2006-01-02T15:04:05 if the day is
// not today.
func NewTimeOfDay(zone *time.Location) *Face { return &Face{zone: zone} }

// Append appends the time wall, in nanoseconds since 1970, with the given number of digits of the second's
// fraction, 1 to 9.
func (f *Face) Append(dst []byte, wall int64, digits int) []byte {
	second, fraction := wall/1e9, wall%1e9
	if fraction < 0 {
		second, fraction = second-1, fraction+1e9
	}
	if f.text == nil || second != f.second {
		f.turn(second)
	}
	dst = append(dst, f.text...)
	dst = append(dst, nineDigits(uint32(fraction))[:digits]...)
	return append(dst, f.suffix...)
}

// nineDigits returns n, which is less than 1e9, in decimal. Two digits at a time are faster than one.
func nineDigits(n uint32) *[9]byte {
	var text [9]byte
	for i := len(text) - 2; i > 0; i -= 2 {
		copy(text[i:], pairs[n%100][:])
		n /= 100
	}
	text[0] = '0' + byte(n)
	return &text
}

// pairs are the numbers from 00 to 99.
var pairs = func() (p [100][2]byte) {
	for i := range p {
		p[i] = [2]byte{'0' + byte(i/10), '0' + byte(i%10)}
	}
	return p
}()

// turn sets the second.
func (f *Face) turn(second int64) {
	t := time.Unix(second, 0).In(f.zone)
	layout := f.layout
	if layout == "" {
		layout = "15:04:05."
		if t.Format(time.DateOnly) != time.Now().In(f.zone).Format(time.DateOnly) {
			layout = "2006-01-02T15:04:05."
		}
	}
	f.second, f.text = second, t.AppendFormat(f.text[:0], layout)
}
