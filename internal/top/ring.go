package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/maptype"
)

// ringLines returns the lines of the view of the open ring. The records are below the rest, the newest
// last.
func (m *Model) ringLines() []line {
	d := m.find(m.watched)
	if d == nil {
		return m.withFooter([]line{styled(headStyle, fmt.Sprintf("map %d is gone", m.watched))}, nil, styled(faintStyle, "esc back  q quit"))
	}
	title := styled(headStyle, fmt.Sprintf("%s  id %d  %s  %s", cmp.Or(d.Name, "-"), d.ID, maptype.Name(d.Type), bytes(float64(d.Bytes))))
	if m.paused {
		title = title.add(noStyle, "  ").add(doubtStyle, "paused")
	}
	lines := []line{title}
	if d.Flow != nil {
		lines = append(lines, m.flowLines(d)...)
	}
	if d.Arena != nil {
		lines = append(lines, plain(fmt.Sprintf("address  %#x   memory %s", d.Arena.UserBase, bytes(float64(d.Memory)))))
	}
	// Leave at least a third of the screen for the records.
	room := max(m.height*2/3-len(lines)-2, 3)
	related := m.related(d)
	for i, text := range related {
		if i == room-1 && len(related) > room {
			lines = append(lines, styled(faintStyle, fmt.Sprintf("         and %d more: rbtool inspect id:%d", len(related)-i, d.ID)))
			break
		}
		lines = append(lines, plain(text))
	}
	return m.withRecords(lines, d)
}

// related returns lines about what has to do with a map: its owners, programs and pins, and notes.
func (m *Model) related(d *inspect.Map) []string {
	var lines []string
	add := func(label, text string) {
		lines = append(lines, wrap(fmt.Sprintf("%-9s%s", label, text), 9, m.width)...)
	}
	for _, u := range d.Users {
		if !u.Self {
			add("owner", userText(u))
		}
	}
	if d.UnseenWriters > 0 {
		add("owner", "processes that cannot be seen from here")
	}
	for _, p := range d.Programs {
		add("program", programText(p))
	}
	for _, path := range d.Pins {
		add("pin", path)
	}
	for _, note := range d.Notes {
		add("note", note)
	}
	return lines
}

// flowLines returns the lines about the flow through a ring.
func (m *Model) flowLines(d *inspect.Map) []line {
	f, p := d.Flow, d.Positions
	lag := ago(f.Lag)
	if f.LagAtLeast {
		lag = "at least " + lag
	}
	state := string(f.State)
	if f.StuckFor > 0 {
		state += " for " + ago(f.StuckFor)
	}
	lines := []line{
		plain(fmt.Sprintf("fill     %s %.1f%%   backlog %s   high %s   full for %s", m.glyphs.fillBar(p.Fill, 16), 100*p.Fill,
			bytes(float64(p.Backlog)), bytes(float64(f.HighWater)), ago(f.Saturated))),
		plain(fmt.Sprintf("flow     in %s   out %s   %s records/s   %s", rate(f.ProducedRate), rate(f.ConsumedRate),
			count(m.records.perSec), m.glyphs.sparkline(f.Rates, 20))),
		plain("state    ").add(stateStyle(f.State), state).add(noStyle, "   lag "+lag),
		plain(fmt.Sprintf("at       consumer %d   producer %d", p.Consumer, p.Producer)),
	}
	lines = append(lines, m.lossLines(d)...)
	if p.Busy != nil {
		lines = append(lines, plain(fmt.Sprintf("busy     %d bytes at %d are being written", p.Busy.Len, p.Busy.Pos)))
	}
	return lines
}

// withRecords appends the records that fit above the footer, and the footer.
func (m *Model) withRecords(lines []line, d *inspect.Map) []line {
	if d.Positions == nil {
		return m.withFooter(lines, nil, styled(faintStyle, "esc back  p pause  ? help  q quit"))
	}
	room := max(m.height-1-len(lines)-1, 0)
	records := m.records.lines
	m.skipped = min(m.skipped, max(len(records)-room, 0))
	records = records[:len(records)-m.skipped]
	if m.records.err != nil && m.skipped == 0 {
		records = append(slices.Clip(records), "stopped: "+m.records.err.Error())
	}
	texts, widest := m.shown(records, room)
	title := "live records, not consumed"
	if m.column > 0 && !m.wrapped {
		title += fmt.Sprintf("   columns %d to %d of %d", m.column+1, min(m.column+m.width, widest), widest)
	}
	if m.skipped > 0 {
		title += fmt.Sprintf("   %d newer below", m.skipped)
	}
	if m.records.lost > 0 {
		title += fmt.Sprintf("   %s lost: too fast to read", bytes(float64(m.records.lost)))
	}
	lines = append(lines, styled(columnStyle, title))
	for _, text := range texts {
		lines = append(lines, plain(text))
	}
	switch {
	case len(texts) > 0:
	case m.watch == nil:
		lines = append(lines, styled(faintStyle, "finding out what its records are..."))
	default:
		lines = append(lines, styled(faintStyle, "no record yet"))
	}
	return m.withFooter(lines, nil, styled(faintStyle, "esc back  left right scroll  w wrap  p pause  ? help  q quit"))
}

// shown returns the last of the records as they are on the screen, in at most room lines, and how many columns the
// widest of them has.
func (m *Model) shown(records []string, room int) (lines []string, widest int) {
	for i := len(records) - 1; i >= 0 && len(lines) < room; i-- {
		text := escape.String(records[i])
		widest = max(widest, runewidth.StringWidth(text))
		if m.wrapped {
			parts := wrap(text, 4, m.width)
			slices.Reverse(parts)
			lines = append(lines, parts...)
		} else {
			lines = append(lines, text)
		}
	}
	lines = lines[:min(len(lines), room)]
	slices.Reverse(lines)
	if m.wrapped {
		return lines, widest
	}
	m.column = min(m.column, max((widest-m.width+sideways-1)/sideways*sideways, 0))
	for i, text := range lines {
		lines[i] = m.glyphs.window(text, m.column, m.width)
	}
	return lines, widest
}

func userText(u inspect.User) string {
	text := fmt.Sprintf("%s (%d)", u.Comm, u.PID)
	switch {
	case u.Consumes:
		text += " consumes"
	case u.Produces:
		text += " produces"
	case u.Mapped:
		text += " maps it"
	default:
		text += " holds it"
	}
	if home := u.Home.String(); home != "" {
		text += ", in " + home
	}
	if !u.Exact {
		text += ", likely"
	}
	return text
}

func programText(p inspect.Program) string {
	text := fmt.Sprintf("%s (id %d)", cmp.Or(p.Name, strings.ToLower(p.Type.String())), p.ID)
	var places []string
	for _, a := range p.Attached {
		places = append(places, a.String())
	}
	if len(places) > 0 {
		text += " at " + strings.Join(places, ", ")
	}
	return text
}
