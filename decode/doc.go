// Package decode turns the bytes of a record into text by its BTF type: JSON
// for programs, key=value pairs for people. And back: an [Encoder] makes a record of
// JSON.
//
// A type is compiled once, into a list of operations that is then run over
// each record:
//
//	typ, err := decode.Find(spec, "exec_event")
//	if err != nil {
//		return err
//	}
//	dec, err := decode.New(typ)
//	if err != nil {
//		return err
//	}
//	line, err = dec.AppendJSON(line[:0], record)
//
// A ring with records of several types needs a [Set], which tells them apart.
//
// # What a value becomes
//
// Fields stand in the order of the struct, under their C names. The members of
// an anonymous struct or union stand in the object around it; all members of a
// union are shown.
//
//	C                         JSON                 text
//	integer, bitfield         a number             the same
//	__int128                  "a decimal number"   without the quotes
//	bool                      true, false          the same
//	float, double             a number, or "NaN",  without the quotes
//	                          "+Inf", "-Inf"
//	enum                      "ENUMERATOR", or a   without the quotes
//	                          number without one
//	char array                "up to the NUL",     bare, or quoted as in Go
//	                          or [byte,...]
//	other array               [v,...]              the same
//	struct, union             {"name":v,...}       {name=v ...}
//	pointer                   "0x..."              without the quotes
//
// A 64-bit integer is a JSON number with all its digits. Readers that take
// JSON numbers for doubles, such as jq 1.6 and JavaScript, round those above
// 2^53.
//
// A string that is not UTF-8 is an array of its bytes in JSON, whose strings are
// Unicode; in text such bytes are \xNN. So different strings never look alike. An
// [Encoder] makes the same string again, with zeros after the NUL.
//
// Unprintable characters are escaped in JSON and text, so neither can command a
// terminal. JSON is always valid.
//
// # Records of another length
//
// A record may be shorter than its type in two ways: padding at the end may be
// missing, and an array that is the last member may be cut off anywhere, since
// programs often submit only what they filled of it. A flexible array takes
// what is left of the record. Anything shorter is [ErrShort]. Bytes beyond the
// type are not shown.
//
// # Trust
//
// Neither the record nor the BTF is trusted: types that contain themselves,
// that lie about their size, that would need unbounded memory or whose names are not
// UTF-8 are refused by [New], and one record makes no more than 1 MiB and 256 times its length of
// output ([ErrTooLong]).
//
// Records are little-endian, as are all machines that rbtool is built for. A
// [Decoder], an [Encoder] and a [Set] do not change and may be used by many goroutines.
package decode
