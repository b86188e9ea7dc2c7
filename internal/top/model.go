package top

import (
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
)

// Config connects a Model to the host.
type Config struct {
	// Sample takes a sample of the host, as [inspect.Sampler.Sample] does. It is not called
	// concurrently.
	Sample func() (*inspect.Report, error)
	// Drops returns the failed reservations since the first sample. It is called after Sample. If it is nil, they are not
	// counted.
	Drops func() (*Drops, error)
	// Watch opens a ring so that the Model can show its records.
	Watch func(id ebpf.MapID) (Watch, error)
	// Interval is the time between two samples.
	Interval time.Duration
	// Sort is the name of the order of the list at first, one of [Orders].
	Sort string
	// Open is the id of the map that is open at first; 0 shows the list.
	Open ebpf.MapID
	// ASCII limits the screen to ASCII characters.
	ASCII bool
}

// Watch follows the records of a ring. Its methods may be called concurrently.
type Watch interface {
	// News returns what happened since the last call.
	News() News
	Close() error
}

// News has the latest records of a ring, and its counts.
type News struct {
	Lines     []string // the latest new records, one line each; if there were too many, earlier ones are left out
	Records   uint64   // number of all records so far, discarded ones included
	LostBytes uint64   // bytes of all records that were overwritten before they could be read
	Err       error    // if set, why no more records will come
}

// view is one of the screens.
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
	drops  *Drops // as of the sample
	err    error  // error of the last sample
	paused bool

	view    view
	back    view // view to show when the user leaves the help
	helpAt  int  // the first line of the help that is on the screen
	by      order
	reverse bool
	filter  string
	typing  bool // the user is typing the filter

	selected ebpf.MapID
	first    int // index of the first row that is on the screen

	watch   Watch
	watched ebpf.MapID
	records recordLog
	column  int  // the first column of the records that is on the screen
	skipped int  // number of the latest records that are not on the screen: the user has scrolled back
	wrapped bool // records are wrapped
}

// NewModel returns a Model that has no sample yet.
func NewModel(cfg Config) *Model {
	m := &Model{cfg: cfg, glyphs: unicodeGlyphs, by: orderOf(cfg.Sort)}
	if cfg.ASCII {
		m.glyphs = asciiGlyphs
	}
	return m
}

// Messages to the Model.
type (
	// sampled is the result of Config.Sample and Config.Drops.
	sampled struct {
		sample *inspect.Report
		err    error
		drops  *Drops
	}
	sampleDue struct{}
	// opened is the result of Config.Watch.
	opened struct {
		id    ebpf.MapID
		watch Watch
		err   error
	}
	// newsDue tells that it is time to get the news of an open ring.
	newsDue struct{ id ebpf.MapID }
)

// newsEvery is the interval at which new records are fetched and drawn.
const newsEvery = 200 * time.Millisecond

// Init implements [tea.Model].
func (m *Model) Init() tea.Cmd { return m.takeSample }

// takeSample takes a sample. The next one is scheduled when its result arrives, so that only one runs at
// a time.
func (m *Model) takeSample() tea.Msg {
	sample, err := m.cfg.Sample()
	if err != nil || m.cfg.Drops == nil {
		return sampled{sample: sample, err: err}
	}
	drops, err := m.cfg.Drops()
	return sampled{sample, err, drops}
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
		return m, m.takeSample
	case sampled:
		m.keep(msg)
		next := tea.Tick(m.cfg.Interval, func(time.Time) tea.Msg { return sampleDue{} })
		if m.cfg.Open != 0 && m.find(m.cfg.Open) != nil {
			m.selected, m.cfg.Open = m.cfg.Open, 0
			return m, tea.Batch(next, m.enter())
		}
		return m, next
	case opened:
		return m, m.show(msg)
	case newsDue:
		if msg.id == m.watched && m.watch != nil {
			if !m.paused {
				added := m.records.add(m.watch.News(), time.Now())
				if m.skipped > 0 {
					m.skipped += added // the same records stay on the screen
				}
			}
			return m, newsTick(msg.id)
		}
	}
	return m, nil
}

func newsTick(id ebpf.MapID) tea.Cmd {
	return tea.Tick(newsEvery, func(time.Time) tea.Msg { return newsDue{id} })
}

// keep stores a sample to be drawn, unless the user has paused the screen.
func (m *Model) keep(msg sampled) {
	if m.paused && m.sample != nil {
		return
	}
	m.err = msg.err
	if msg.err == nil {
		m.sample, m.drops = msg.sample, msg.drops
	}
}

// show begins to show the records of a ring that was opened.
func (m *Model) show(msg opened) tea.Cmd {
	if msg.id != m.watched || m.watch != nil {
		if msg.watch != nil {
			msg.watch.Close() // the user has left the ring while it was being opened
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

// enter opens the selected ring.
func (m *Model) enter() tea.Cmd {
	list := m.rows()
	if len(list) == 0 {
		return nil
	}
	d := list[m.index(list)]
	m.selected = d.ID
	m.view, m.watched, m.records = ringView, d.ID, recordLog{}
	m.column, m.skipped = 0, 0
	if d.Positions == nil {
		return nil // an arena has no records
	}
	id := d.ID
	return func() tea.Msg {
		w, err := m.cfg.Watch(id)
		return opened{id, w, err}
	}
}

// leave closes the open ring and returns to the list.
func (m *Model) leave() {
	if m.watch != nil {
		m.watch.Close()
	}
	m.view, m.watch, m.watched = listView, nil, 0
}

// Close closes the ring whose records are on the screen, if any.
func (m *Model) Close() { m.leave() }

// rows returns the rows of the list.
func (m *Model) rows() []*inspect.Map {
	if m.sample == nil {
		return nil
	}
	return m.drops.rows(m.sample.Maps, m.filter, m.by, m.reverse)
}

// find returns the map with an id in the last sample, or nil if it is not there.
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

// recordLog has the records that the view of a ring shows.
type recordLog struct {
	lines  []string // one line for each of the last records
	total  uint64
	lost   uint64
	perSec float64
	since  time.Time // when the last news came
	err    error
}

// logLen is the number of lines that a recordLog keeps.
const logLen = 500

// add adds news, and returns the number of lines that came.
func (l *recordLog) add(n News, now time.Time) int {
	if s := now.Sub(l.since).Seconds(); !l.since.IsZero() && s > 0 {
		// weight is how much the newest rate counts in the rate that is shown, which would otherwise change
		// too fast to be read.
		const weight = 0.3
		l.perSec += weight * (float64(n.Records-l.total)/s - l.perSec)
	}
	l.lines = append(l.lines, n.Lines...)
	l.lines = l.lines[max(len(l.lines)-logLen, 0):]
	l.total, l.lost, l.since = n.Records, n.LostBytes, now
	if n.Err != nil {
		l.err = n.Err
	}
	return len(n.Lines)
}
