package reconstruct

import "github.com/rbtool/rbtool/internal/recordflow"

// clearedAtOnce returns the lines that store zeros in several places and nothing else. The compiler clears members that lie
// beside each other at once, with the line of any of them. The bytes of an unaligned number are one place.
func clearedAtOnce(writes []recordflow.Write) map[recordflow.Line]bool {
	zeros, others := map[recordflow.Line][]*recordflow.Write{}, map[recordflow.Line]bool{}
	for i := range writes {
		w := &writes[i]
		if w.Constant && w.Const == 0 {
			zeros[w.Line] = append(zeros[w.Line], w)
		} else {
			others[w.Line] = true
		}
	}
	cleared := map[recordflow.Line]bool{}
	for line, stores := range zeros {
		cleared[line] = len(stores) > 1 && !others[line] && !areOneNumber(stores)
	}
	return cleared
}

// areOneNumber reports whether the stores are those of the bytes of a number of 2 or 4.
func areOneNumber(stores []*recordflow.Write) bool {
	if len(stores) != 2 && len(stores) != 4 {
		return false
	}
	least := stores[0].Off
	for _, w := range stores {
		least = min(least, w.Off)
	}
	seen := map[int64]bool{}
	for _, w := range stores {
		if w.Size != 1 || w.Off >= least+int64(len(stores)) || seen[w.Off] {
			return false
		}
		seen[w.Off] = true
	}
	return true
}
