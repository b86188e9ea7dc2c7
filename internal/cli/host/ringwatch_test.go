package host

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/internal/top"
)

// newsUntil asks for news until at least the given number of records has arrived.
func newsUntil(w *ringWatch, records uint64) top.News {
	var all top.News
	for {
		n := w.News()
		all.Lines = append(all.Lines, n.Lines...)
		all.Records, all.LostBytes, all.Err = n.Records, n.LostBytes, n.Err
		if n.Records >= records || n.Err != nil {
			return all
		}
	}
}

func TestARingOnTheScreenIsObserved(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Map(t, &ebpf.MapSpec{Name: "watched", Type: ebpf.RingBuf, MaxEntries: 1 << 16})
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	produce := func(count uint64) {
		t.Helper()
		if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Count: count, Size: 8}); err != nil {
			t.Fatal(err)
		}
	}
	produce(3)
	w, err := watchRing(t.Context(), idOf(t, m))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	news := newsUntil(w, 3)
	if len(news.Lines) != 3 || news.Records != 3 || news.LostBytes != 0 || news.Err != nil {
		t.Errorf("got %+v", news)
	}
	for _, line := range news.Lines {
		if strings.Contains(line, "\n") || line == "" {
			t.Errorf("line %q", line)
		}
	}
	// Only the last records are shown, but all are counted.
	produce(1000)
	news = newsUntil(w, 1003)
	if n := len(news.Lines); n < keepRecords || news.Records != 1003 {
		t.Errorf("%d lines of %d records", n, news.Records)
	}
	if last := news.Lines[len(news.Lines)-1]; !strings.Contains(last, "pos=16032 ") {
		t.Errorf("the last line is %q", last)
	}
	if diff := gocmp.Diff(top.News{Records: 1003}, w.News()); diff != "" {
		t.Errorf("nothing new, -want +got:\n%s", diff)
	}
	// The watch has consumed no record.
	q, err := p.Query()
	if err != nil {
		t.Fatal(err)
	}
	if q.ConsPos != 0 || q.ProdPos != 1003*16 {
		t.Errorf("got %+v", q)
	}
}

func TestAMapThatIsGoneCannotBeWatched(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	id := idOf(t, m)
	m.Close()
	if _, err := watchRing(t.Context(), id); err == nil {
		t.Error("no error")
	}
}

func idOf(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

func TestUTF8Locale(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{map[string]string{"LANG": "C.utf8"}, true},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LANG": "en_US.ISO-8859-1", "LC_CTYPE": "en_US.UTF-8"}, true},
	} {
		if got := utf8Locale(func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("%v: %v", tt.env, got)
		}
	}
}

func TestTheConsoleHasFewGlyphs(t *testing.T) {
	for term, want := range map[string]bool{"linux": true, "vt100": true, "xterm": false, "xterm-256color": false, "screen": false, "tmux-256color": false} {
		if got := fewGlyphs(term); got != want {
			t.Errorf("%s: %v", term, got)
		}
	}
}
