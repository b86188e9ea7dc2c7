package top

import (
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
)

// Config is what a Model works with.
type Config struct {
	// Sample looks at the host, as [inspect.Sampler.Sample] does. It is called by
	// one goroutine at a time.
	Sample func() (*inspect.Report, error)
	// Watch opens the records of a ring as they come.
	Watch func(id ebpf.MapID) (Watch, error)
	// Interval is the time between two samples.
	Interval time.Duration
	// ASCII says that the terminal shows nothing else.
	ASCII bool
}

// Watch is a view of the records of one ring. Its methods may be called from any
// goroutine.
type Watch interface {
	// News returns what came since the last call.
	News() News
	Close() error
}

// News is what came through a ring.
type News struct {
	Lines     []string // the last records, one a line; those before them are not in it
	Records   uint64   // so far, discarded ones included
	LostBytes uint64   // so far: written over before they could be read
	Err       error    // why nothing more comes
}

// view is which screen is shown.
type view int

const (
	listView view = iota
	ringView
	helpView
)

// Model is the state of the screen.
type Model struct {
	cfg           Config
	glyphs        glyphs
	width, height int

	sample *inspect.Report
	err    error // of the last sample
	paused bool

	view   view
	back   view // from the help
	by     order
	revers bool
	filter string
	typing bool // the filter

	selected ebpf.MapID
	first    int // the first row on the screen

	watch   Watch
	watched ebpf.MapID
	records recordLog
}

// NewModel returns a Model that has not sampled yet.
func NewModel(cfg Config) *Model {
	m := &Model{cfg: cfg, glyphs: unicodeGlyphs}
	if cfg.ASCII {
		m.glyphs = asciiGlyphs
	}
	return m
}

// Messages.
type (
	// sampled is the result of a sample.
	sampled struct {
		sample *inspect.Report
		err    error
	}
	sampleDue struct{}
	// opened is the result of Config.Watch.
	opened struct {
		id    ebpf.MapID
		watch Watch
		err   error
	}
	// newsDue asks for the news of the ring that is looked into.
	newsDue struct{ id ebpf.MapID }
)

// newsEvery is how often new records are drawn.
const newsEvery = 200 * time.Millisecond

// Init implements [tea.Model].
func (m *Model) Init() tea.Cmd { return m.look }

// look takes a sample. The next one is asked for when this one is in, so there is
// only one at a time.
func (m *Model) look() tea.Msg {
	sample, err := m.cfg.Sample()
	return sampled{sample, err}
}

// Update implements [tea.Model].
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.key(msg)
	case tea.PasteMsg:
		m.paste(msg.Content)
	case sampleDue:
		return m, m.look
	case sampled:
		m.take(msg)
		return m, tea.Tick(m.cfg.Interval, func(time.Time) tea.Msg { return sampleDue{} })
	case opened:
		return m, m.show(msg)
	case newsDue:
		if msg.id == m.watched && m.watch != nil {
			if !m.paused {
				m.records.add(m.watch.News(), time.Now())
			}
			return m, newsTick(msg.id)
		}
	}
	return m, nil
}

func newsTick(id ebpf.MapID) tea.Cmd {
	return tea.Tick(newsEvery, func(time.Time) tea.Msg { return newsDue{id} })
}

// take shows a sample, unless the screen is paused.
func (m *Model) take(msg sampled) {
	if m.paused && m.sample != nil {
		return
	}
	m.err = msg.err
	if msg.err == nil {
		m.sample = msg.sample
	}
}

// show begins to show the records of a ring.
func (m *Model) show(msg opened) tea.Cmd {
	if msg.id != m.watched || m.watch != nil {
		if msg.watch != nil {
			msg.watch.Close() // the user has left meanwhile
		}
		return nil
	}
	if msg.err != nil {
		m.records.err = msg.err
		return nil
	}
	m.watch = msg.watch
	return newsTick(msg.id)
}

// enter looks into the selected ring.
func (m *Model) enter() tea.Cmd {
	list := m.rows()
	if len(list) == 0 {
		return nil
	}
	d := list[m.index(list)]
	m.selected = d.ID
	m.view, m.watched, m.records = ringView, d.ID, recordLog{}
	if d.Positions == nil {
		return nil // an arena has no records
	}
	id := d.ID
	return func() tea.Msg {
		w, err := m.cfg.Watch(id)
		return opened{id, w, err}
	}
}

// leave goes back to the list.
func (m *Model) leave() {
	if m.watch != nil {
		m.watch.Close()
	}
	m.view, m.watch, m.watched = listView, nil, 0
}

// Close ends what the screen has opened.
func (m *Model) Close() { m.leave() }

// rows are those that the list shows.
func (m *Model) rows() []*inspect.Map {
	if m.sample == nil {
		return nil
	}
	return rows(m.sample.Maps, m.filter, m.by, m.revers)
}

// find returns what the last sample says of a map, nil when it is gone.
func (m *Model) find(id ebpf.MapID) *inspect.Map {
	if m.sample != nil {
		for i := range m.sample.Maps {
			if m.sample.Maps[i].ID == id {
				return &m.sample.Maps[i]
			}
		}
	}
	return nil
}

// recordLog is the records that a ring's screen shows.
type recordLog struct {
	lines  []string // the last ones
	total  uint64
	lost   uint64
	perSec float64
	since  time.Time // of the last news
	err    error
}

// logLen is how many records are kept for the screen.
const logLen = 500

func (l *recordLog) add(n News, now time.Time) {
	if s := now.Sub(l.since).Seconds(); !l.since.IsZero() && s > 0 {
		// A smoothed rate: one that jumps with every drawing cannot be read.
		const weight = 0.3
		l.perSec += weight * (float64(n.Records-l.total)/s - l.perSec)
	}
	l.lines = append(l.lines, n.Lines...)
	l.lines = l.lines[max(len(l.lines)-logLen, 0):]
	l.total, l.lost, l.since = n.Records, n.LostBytes, now
	if n.Err != nil {
		l.err = n.Err
	}
}
