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
// union are shown, unless [Options.Arms] or the names of an enum (see [New]) tell which one a record has.
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
//	char array                "up to the NUL",     bare, or quoted as in Go;
//	                          or [byte,...]        several texts: [a,b]
//	other array               [v,...]              the same
//	struct, union             {"name":v,...}       {name=v ...}
//	pointer                   "0x..."              without the quotes
//
// Text shows numbers as people read them, if the type, the name of the field or [Options.Meanings] say what
// they stand for:
//
//	time                      18:04:11.123456789, with the date if that is not today
//	duration                  1.5ms
//	IP address, port          10.0.0.1, ::1, 443; from network order
//	hardware address          02:00:00:00:00:01
//	negative error, signal    -2(ENOENT), 9(SIGKILL)
//	user, group               0(root)
//	device                    8:1
//	pointer, address          0xffffffff81000000(do_exit+0x2)
//	bytes that hold a string  as a char array
//	8 bytes and more          hex:00ff00ff00ff00ff
//	several flags of an enum  READ|WRITE
//
// A [Printer] knows times, users, groups and symbols, which depend on the host; without one they stay numbers. It also
// shortens long strings and arrays, of which "...(+84)" says how much is left out.
//
// A 64-bit integer is a JSON number with all its digits. Readers that take
// JSON numbers for doubles, such as jq 1.6 and JavaScript, round those above
// 2^53.
//
// The string of a char array ends at its first NUL. If the record says how long the string is, by its own length
// or by a member called like the array (args_size for args), and texts follow the NUL, the string has
// them all: "ls\u0000-l".
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
// shorter still causes an error that matches [ErrShort], unless [Options.Prefix] says that records of
// the type can end anywhere. Bytes beyond the type are shown only if it is a header ([Options.Header]).
//
// # Trust
//
// Neither records nor BTF are trusted. [New] refuses types that contain themselves, have
// a wrong size, need unbounded memory, or have names that are not UTF-8. The output for
// one record is at most 1 MiB plus 256 times its length ([ErrTooLong]).
//
// Records are little-endian, like all machines that rbtool supports.
package decode
