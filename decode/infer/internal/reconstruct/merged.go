package reconstruct

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/srcline"
)

// split narrows a store that the compiler made of several to the part that the line names, or marks it as doubtful.
//
// LLVM joins stores in two ways. Constants that lie beside each other become one store with the line of the first
// member (DAGCombiner::mergeStoresOfConstantsOrVecElts). Members that are set to the same byte become a memset, which
// can have the line of any (MemCpyOptPass::tryMergingIntoMemset).
func (w *namedWrite) split() {
	switch {
	case w.assign == nil || w.assign.Op != "=":
	case w.Bits && !strings.ContainsAny(w.value(), "|("):
		w.bits = true
	case w.Size < 2:
	case isSplat(w.Write):
		w.doubtful = true
	case w.Constant:
		w.splitConstants()
	case w.Size == 8:
		w.doubtful = !w.splitHalves()
	}
}

// sourceLines are the lines of a site's instructions.
type sourceLines map[sourceLine]bool

type sourceLine struct {
	file   string
	number int
}

func linesOf(s *recordflow.Site) sourceLines {
	lines := sourceLines{{s.Line.File, s.Line.Number}: true}
	for _, w := range s.Writes {
		lines[sourceLine{w.Line.File, w.Line.Number}] = true
	}
	for _, p := range s.Passes {
		lines[sourceLine{p.Line.File, p.Line.Number}] = true
	}
	return lines
}

// enclose reports whether the lines before and after one have instructions: the compiler has joined neither with it.
func (l sourceLines) enclose(line recordflow.Line) bool {
	return line.Number > 1 && l[sourceLine{line.File, line.Number - 1}] && l[sourceLine{line.File, line.Number + 1}]
}

// halve narrows zeros that two members of 4 bytes have got at once to the first, which is the one in the line: two stores
// become no memset (MemsetRange::isProfitableToUseMemset). That there are two members is seen at other stores.
func (w *namedWrite) halve(writes []recordflow.Write) {
	if w.assign == nil || !w.doubtful || w.Const != 0 || !isSplat(w.Write) {
		return
	}
	if v, ok := literal(w.value()); !ok || v != 0 {
		return
	}
	first, second := false, false
	for i := range writes[:min(len(writes), maxFields)] {
		o := &writes[i]
		is := o.Size == 4 && o.By == ""
		first = first || is && o.Off == w.Off && !o.Constant
		second = second || is && o.Off == w.Off+4
	}
	if first && second {
		w.narrow(4)
		w.doubtful = false
	}
}

// isSplat reports whether a store of 8 bytes sets all to 0 or to -1, as a memset does.
func isSplat(w *recordflow.Write) bool {
	return w.Constant && w.Size == 8 && (w.Const == 0 || w.Const == 1<<64-1)
}

// splitConstants narrows a store of constants to the first, which is the one in the line.
func (w *namedWrite) splitConstants() {
	v, ok := literal(w.value())
	for size := w.Size; ok && size > 0; size /= 2 {
		if mask := uint64(1)<<(8*uint(size)-1)<<1 - 1; v&mask == w.Const&mask && (v == v&mask || v == int64Bits(v&mask, size)) {
			w.narrow(size)
			return
		}
	}
	// Without a number in the line, a small one that leaves room below another is the first of two.
	if w.doubtful = ok; !ok && w.Size == 8 && w.Const>>32 != 0 && uint32(w.Const) <= maxSmall {
		w.narrow(4)
	}
	if high := uint32(w.Const) >> 16; !ok && w.Size >= 4 && w.Const>>32 == 0 && high > 0 && high <= maxSmall && uint16(w.Const) <= maxSmall &&
		name.MatchString(w.value()) {
		w.narrow(2)
	}
}

// maxSmall is the most that a number is that leaves room below another.
const maxSmall = 0xff

// name matches the name of a constant or variable.
var name = regexp.MustCompile(`^[A-Za-z_]\w*$`)

// narrow makes the write one of the first bytes.
func (w *namedWrite) narrow(size int64) {
	part := *w.Write
	part.Size, part.Max = size, size
	part.Const &= 1<<(8*uint(size)-1)<<1 - 1
	w.Write = &part
}

// copySize returns the size that a call of memcpy copies, if its line gives a number; 0 otherwise.
func copySize(c *srcline.Call) int64 {
	const size, ethernet = 2, 6 // ETH_ALEN, include/uapi/linux/if_ether.h
	if c == nil || len(c.Args) <= size || !strings.Contains(c.Name, "memcpy") {
		return 0
	}
	if c.Args[size].Text == "ETH_ALEN" {
		return ethernet
	}
	n, ok := literal(c.Args[size].Text)
	if !ok || n > maxLength {
		return 0
	}
	return int64(n)
}

// int64Bits returns the bits of a number of size bytes, with its sign extended.
func int64Bits(v uint64, size int64) uint64 {
	shift := 64 - 8*uint(size)
	return uint64(int64(v<<shift) >> shift)
}

// literal returns the number that text is.
func literal(text string) (uint64, bool) {
	switch text {
	case "true":
		return 1, true
	case "false", "NULL":
		return 0, true
	}
	digits, negative := strings.CutPrefix(text, "-")
	v, err := strconv.ParseUint(strings.TrimRight(digits, "uUlL"), 0, 64)
	if negative {
		v = -v
	}
	return v, err == nil
}

// halves are helpers that return two numbers of 32 bits. Programs store both beside each other, and the compiler
// stores them at once.
var halves = map[string]bool{"bpf_get_current_pid_tgid": true, "bpf_get_current_uid_gid": true}

var (
	highHalf = regexp.MustCompile(`>>\s*32\s*\)?$`)
	lowHalf  = regexp.MustCompile(`^\((?:__)?(?:[us]32|u?int|u?int32_t|pid_t|[ug]id_t)\)|&\s*0x[fF]{8}[uUlL]*\)?$`)
	// narrow matches names that members of 8 bytes hardly ever have.
	narrow = regexp.MustCompile(`(?:^|_)(?:[pt]?pid|tid|t?gid|tgid|[ef]?uid|fd|port|sport|dport|family|type|kind|proto|protocol|cpu|ifindex|netns)$`)
	both   = regexp.MustCompile(`pid.*tgid|tgid.*pid|uid.*gid|gid.*uid`)
)

// splitHalves splits a store of 8 bytes to which the line gives a number of 4. It reports false if it is not known
// which half that is.
func (w *namedWrite) splitHalves() bool {
	v := w.value()
	high, low := highHalf.MatchString(v), lowHalf.MatchString(v)
	whole := w.From.Shift == 0 && w.From.Width == 64
	rotated := halves[w.From.Helper] && w.From.Shift == 32 && w.From.Width == 64
	switch {
	case rotated && (high || low || narrow.MatchString(w.path[len(w.path)-1].Member)):
		w.Write = half(w.Write, !high, high)
		return true
	case high && w.From.Shift >= 32 || w.From.Width > 0 && w.From.Width <= 32:
		return true // it is a number of 8 bytes: its upper half is zero
	case !high && !low:
		// "e->pid = id" can be the low half, or "e->pid = x->pid" the first of several that are copied at once. A call is
		// not repeated, so it is the whole.
		name := w.path[len(w.path)-1].Member
		return strings.Contains(v, "(") || name == "id" || both.MatchString(name) || !narrow.MatchString(name) && !(halves[w.From.Helper] && whole)
	case !halves[w.From.Helper] || !whole:
		return false
	}
	w.Write = half(w.Write, high, high)
	return true
}

// half returns the store of the upper or lower 4 bytes of a store of 8, which have the upper or lower half of a helper's
// result.
func half(w *recordflow.Write, upper, high bool) *recordflow.Write {
	part := *w
	part.Size, part.Max, part.From.Width, part.From.Shift = 4, 4, 32, 0
	if upper {
		part.Off += 4
	}
	if high {
		part.From.Shift = 32
	}
	return &part
}

// twin returns the other half of a store that w is a half of. The line names only one; what the helper returns tells the
// name of the other: the pid goes with the tgid, the uid with the gid.
func (w *namedWrite) twin(whole *recordflow.Write) (namedWrite, bool) {
	last := len(w.path) - 1
	if w.Size == whole.Size || !halves[whole.From.Helper] || w.path[last].Member == "" {
		return namedWrite{}, false
	}
	high := w.From.Shift == 0 // the other half is the upper one
	twin := *w
	twin.Write = half(whole, w.Off == whole.Off, high)
	name := w.path[last].Member
	pair := pairs[pairKey{whole.From.Helper, high, halfName.FindString(name)}]
	if pair == "" {
		return namedWrite{}, false
	}
	twin.path = slices.Clone(w.path)
	twin.path[last].Member = halfName.ReplaceAllString(name, pair)
	return twin, true
}

// pairKey is a helper, whether the upper half has no name, and the name of the other half.
type pairKey struct {
	helper string
	high   bool
	name   string
}

var (
	halfName = regexp.MustCompile(`(?:tg|[pt]|[ug])id$`)
	pairs    = map[pairKey]string{
		{"bpf_get_current_uid_gid", true, "uid"}:    "gid",
		{"bpf_get_current_uid_gid", false, "gid"}:   "uid",
		{"bpf_get_current_pid_tgid", true, "pid"}:   "tgid",
		{"bpf_get_current_pid_tgid", true, "tid"}:   "pid",
		{"bpf_get_current_pid_tgid", false, "tgid"}: "pid",
	}
)

// cutMerged ends a member before the next one where only a constant store covers both: the compiler merges
// such stores.
func (l *layout) cutMerged() {
	for n, i := range l.items {
		if i.told || i.count > 0 {
			continue
		}
		for _, next := range l.items[n+1:] {
			if next.off > i.off && next.off < i.end() {
				i.size, i.told = floorPow2(next.off-i.off), true
			}
		}
	}
	l.items = slices.DeleteFunc(l.items, func(i *item) bool { return !i.told && i.mayBeMerged() })
	l.sort()
}

// mayBeMerged reports whether the constants that are stored into the member look like those of several. Stores that are
// longer than the member are known to be of several.
func (i *item) mayBeMerged() bool {
	if i.size == 2 && port.MatchString(i.path[len(i.path)-1].Member) {
		return false
	}
	for _, w := range i.writes {
		if half := uint(w.Size) * 4; w.Size > 1 && w.Size <= i.size && w.Const>>half != 0 && w.Const>>half != 1<<half-1 {
			return true
		}
	}
	return false
}

// port matches names that members of one byte hardly ever have.
var port = regexp.MustCompile(`(?:^|_)[sdlr]?port$`)

func floorPow2(n int64) int64 {
	p := int64(1)
	for p*2 <= n && p < 8 {
		p *= 2
	}
	return p
}
