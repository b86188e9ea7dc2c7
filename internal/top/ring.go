package top

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/maptype"
)

// ringLines returns the lines of the view of the open ring. The records are below the rest, the newest
// last.
func (m *Model) ringLines() []line {
	d := m.find(m.watched)
	if d == nil {
		return []line{styled(headStyle, fmt.Sprintf("map %d is gone", m.watched)), nil, styled(faintStyle, "esc back  q quit")}
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
	var related []string
	for _, u := range d.Users {
		if !u.Self {
			related = append(related, "owner    "+userText(u))
		}
	}
	for _, p := range d.Programs {
		related = append(related, "program  "+programText(p))
	}
	for _, path := range d.Pins {
		related = append(related, "pin      "+path)
	}
	for _, note := range d.Notes {
		related = append(related, "note     "+note)
	}
	for i, text := range related {
		if i == room-1 && len(related) > room {
			lines = append(lines, styled(faintStyle, fmt.Sprintf("         and %d more: rbtool inspect id:%d", len(related)-i, d.ID)))
			break
		}
		lines = append(lines, plain(text))
	}
	return append(m.withRecords(lines, d), styled(faintStyle, "esc back  p pause  ? help  q quit"))
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
	if p.Busy != nil {
		state += fmt.Sprintf(", %d bytes at %d being written", p.Busy.Len, p.Busy.Pos)
	}
	return []line{
		plain(fmt.Sprintf("fill     %s %.1f%%   backlog %s   high %s   full for %s", m.glyphs.fillBar(p.Fill, 20), 100*p.Fill,
			bytes(float64(p.Backlog)), bytes(float64(f.HighWater)), ago(f.Saturated))),
		plain(fmt.Sprintf("flow     in %s   out %s   %s records/s   %s", rate(f.ProducedRate), rate(f.ConsumedRate),
			count(m.records.perSec), m.glyphs.sparkline(f.Rates, 20))),
		plain("state    ").add(stateStyle(f.State), state).add(noStyle, "   lag "+lag),
		plain(fmt.Sprintf("at       consumer %d   producer %d", p.Consumer, p.Producer)),
	}
}

// withRecords appends the last records: as many as fit above the footer.
func (m *Model) withRecords(lines []line, d *inspect.Map) []line {
	end := max(m.height-1, 1)
	if d.Positions != nil {
		title := "live records, not consumed"
		if m.records.lost > 0 {
			title += fmt.Sprintf("   %s lost: too fast to read", bytes(float64(m.records.lost)))
		}
		lines = append(lines, styled(columnStyle, title))
		records := m.records.lines
		if m.records.err != nil {
			records = append(records[:len(records):len(records)], "stopped: "+m.records.err.Error())
		}
		for _, r := range records[max(len(records)-max(end-len(lines), 0), 0):] {
			lines = append(lines, plain(r))
		}
	}
	for len(lines) < end {
		lines = append(lines, nil)
	}
	return lines[:end]
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
