package stream

import "strconv"

// Lines of a dump have 16 bytes. A longer dump is shortened to 64.
const (
	dumpLine  = 16
	shortDump = 64
)

// appendDump appends data in hex and as ASCII: on the line that dst ends with if it is short, otherwise on lines
// of its own, as hexdump -C has them. If t.full is not set, only the beginning of long data is shown.
func (t *textWriter) appendDump(dst, data []byte) []byte {
	if len(data) <= dumpLine {
		if len(data) > 0 {
			dst = appendDumpLine(append(dst, "  "...), data, len(data))
		}
		return append(dst, '\n')
	}
	shown := data
	if !t.full && len(data) > shortDump+dumpLine {
		shown = data[:shortDump]
	}
	dst = append(dst, '\n')
	for off := 0; off < len(shown); off += dumpLine {
		const digits = 8
		address := strconv.FormatUint(uint64(off), 16)
		dst = append(dst, "    00000000"[:4+digits-len(address)]...)
		dst = append(append(dst, address...), "  "...)
		dst = appendDumpLine(dst, shown[off:min(off+dumpLine, len(shown))], dumpLine)
		dst = append(dst, '\n')
	}
	if left := len(data) - len(shown); left > 0 {
		dst = append(dst, "    ... "...)
		dst = append(strconv.AppendInt(dst, int64(left), 10), " more bytes"...)
		dst = append(append(dst, t.hint...), '\n')
	}
	return dst
}

// appendDumpLine appends the bytes of a line in hex, padded to the given number of bytes, and as ASCII.
func appendDumpLine(dst, line []byte, width int) []byte {
	const digits = "0123456789abcdef"
	for i := range width {
		if i == dumpLine/2 {
			dst = append(dst, ' ')
		}
		if i < len(line) {
			dst = append(dst, digits[line[i]>>4], digits[line[i]&15], ' ')
		} else {
			dst = append(dst, "   "...)
		}
	}
	dst = append(dst, " |"...)
	for _, c := range line {
		if c < ' ' || c > '~' {
			c = '.'
		}
		dst = append(dst, c)
	}
	return append(dst, '|')
}
