// Package decode converts records to text by their BTF type: to JSON for programs, and to
// key=value pairs for people. It also converts JSON to records.
//
// A type is compiled once:
//
//	typ, err := decode.Find(spec, "exec_event")
//	if err != nil {
//		return err
//	}
//	codec, err := decode.New(typ)
//	if err != nil {
//		return err
//	}
//	line, err = codec.AppendJSON(line[:0], record)
//
// For a ring with records of several types, a [Set] finds the type of each record.
// Package infer finds the types of a ring's records from the programs that produce them.
//
// # Values
//
// Fields have the order of the struct and their C names. The members of
// an anonymous struct or union belong to the enclosing object. All members of a
// union are shown.
//
//	C                         JSON                 text
//	integer, bitfield         a number             the same
//	__int128                  "a decimal number"   without the quotes
//	bool                      true, false          the same
//	float, double             a number, or "NaN",  without the quotes
//	                          "+Inf", "-Inf"
//	other float               "0x..."              without the quotes
//	enum                      "ENUMERATOR", or a   without the quotes
//	                          number if unnamed
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
// JSON strings are Unicode, so in JSON a string that is not UTF-8 is an array of its bytes. In
// text such bytes are \xNN. Different strings never look alike.
// [Codec.AppendRecord] restores the string, with zeros after the NUL.
//
// Unprintable characters are escaped in JSON and text, so the output of a record never
// contains terminal control sequences. JSON is always valid.
//
// # Records of other lengths
//
// A record can be shorter than its type: padding at the end can be missing, and an
// array that is the last member can end anywhere, since programs often submit only the
// part that they filled. A flexible array takes the rest of the record. A record that is
// shorter still causes an error that matches [ErrShort]. Bytes beyond the type are not
// shown.
//
// # Trust
//
// Neither records nor BTF are trusted. [New] refuses types that contain themselves, have
// a wrong size, need unbounded memory, or have names that are not UTF-8. The output for
// one record is at most 1 MiB plus 256 times its length ([ErrTooLong]).
//
// Records are little-endian, like all machines that rbtool supports.
package decode
