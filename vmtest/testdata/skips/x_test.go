package skips

import "testing"

func TestSkipsForWhatIsThere(t *testing.T)   { t.Skip("missing feature btf: not so") }
func TestSkipsForWhatIsNot(t *testing.T)     { t.Skip("missing feature ringbuf-overwrite: so") }
func TestSkipsForSomethingElse(t *testing.T) { t.Skip("missing feature zeal: there is none") }
func TestSkipsWithoutAReason(t *testing.T)   { t.SkipNow() }
