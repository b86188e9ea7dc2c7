package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
)

var (
	noStyle       = lipgloss.NewStyle()
	headStyle     = lipgloss.NewStyle().Bold(true)
	columnStyle   = lipgloss.NewStyle().Underline(true)
	selectedStyle = lipgloss.NewStyle().Reverse(true)
	badStyle      = lipgloss.NewStyle().Foreground(lipgloss.Color("1")).Bold(true)
	doubtStyle    = lipgloss.NewStyle().Foreground(lipgloss.Color("3"))
	faintStyle    = lipgloss.NewStyle().Faint(true)
)

// View implements [tea.Model].
func (m *Model) View() tea.View {
	view := tea.NewView(m.content())
	view.AltScreen = true
	return view
}

// content returns the text of the screen with escape sequences for styles.
func (m *Model) content() string {
	var lines []line
	switch m.view {
	case helpView:
		lines = m.helpScreen()
	case ringView:
		lines = m.ringLines()
	default:
		lines = m.listLines()
	}
	return m.glyphs.render(lines, m.width, m.height)
}

// frameLines is the number of lines on the screen besides the rows of the list: title, column heads,
// footer.
const frameLines = 3

// listHeight returns the number of rows that fit on the screen.
func (m *Model) listHeight() int { return max(m.height-frameLines, 1) }

func (m *Model) listLines() []line {
	list := m.rows()
	columns := m.fit(m.width)
	lines := []line{m.title(), styled(columnStyle, m.header(columns))}
	at, height := m.index(list), m.listHeight()
	m.first = min(max(m.first, at-height+1), at, max(len(list)-height, 0))
	m.first = max(m.first, 0)
	for i := m.first; i < len(list) && i < m.first+height; i++ {
		lines = append(lines, m.row(columns, list[i], i == at))
	}
	switch {
	case m.err != nil:
		lines = append(lines, styled(badStyle, m.err.Error()))
	case m.sample == nil:
		lines = append(lines, styled(faintStyle, "sampling..."))
	case len(m.sample.Maps) == 0:
		lines = append(lines, plain("no ring buffer, user ring buffer or arena on this host"))
		if n := m.sample.PerfEventArrays; n > 0 {
			lines = append(lines, plain(plural(n, "perf event array")+", which rbtool does not read"))
		}
	case len(list) == 0:
		lines = append(lines, plain("nothing matches the filter; esc clears it"))
	}
	return m.withFooter(lines, m.notes(), m.footer())
}

// withFooter appends notes if there is room for them, and the footer, which is in the last line of the screen.
func (m *Model) withFooter(lines, notes []line, footer line) []line {
	room := max(m.height-1, 1)
	if len(lines) < room-len(notes) {
		for len(lines) < room-len(notes) {
			lines = append(lines, nil)
		}
		lines = append(lines, notes...)
	}
	for len(lines) < room {
		lines = append(lines, nil)
	}
	return append(lines[:room], footer)
}

// notes returns what is unknown about the host.
func (m *Model) notes() (lines []line) {
	if m.sample == nil {
		return nil
	}
	for _, note := range m.sample.Notes {
		for _, text := range wrap("note: "+note, len("note: "), m.width) {
			lines = append(lines, styled(faintStyle, text))
		}
	}
	return lines
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// title returns the first line: a summary of the host.
func (m *Model) title() line {
	if m.sample == nil {
		return styled(headStyle, "rbtool top")
	}
	rings, arenas, unknown, stuck, produced := 0, 0, 0, 0, 0.0
	for i := range m.sample.Maps {
		d := &m.sample.Maps[i]
		if d.Type == ebpf.Arena {
			arenas++
			continue
		}
		rings++
		if d.Flow == nil {
			unknown++
			continue
		}
		produced += d.Flow.ProducedRate
		if d.Flow.State == inspect.ConsumerStuck || d.Flow.State == inspect.ProducerStuck {
			stuck++
		}
	}
	parts := []string{plural(rings, "ring")}
	if produced > 0 {
		parts = append(parts, rate(produced))
	}
	if unknown > 0 {
		parts = append(parts, fmt.Sprintf("%d without positions", unknown))
	}
	if arenas > 0 {
		parts = append(parts, plural(arenas, "arena"))
	}
	title := styled(headStyle, "rbtool top").add(noStyle, "  "+strings.Join(parts, "  "))
	if stuck > 0 {
		title = title.add(noStyle, "  ").add(badStyle, fmt.Sprintf("%d stuck", stuck))
	}
	title = title.add(noStyle, "  "+m.sample.Time.Format(time.TimeOnly))
	if m.paused {
		title = title.add(noStyle, "  ").add(doubtStyle, "paused")
	}
	return title
}

func (m *Model) footer() line {
	if m.typing || m.filter != "" {
		if m.typing {
			return plain("/" + m.filter + "_")
		}
		return plain("/"+m.filter).add(faintStyle, "   esc clears the filter")
	}
	direction := ""
	if m.reverse {
		direction = " reversed"
	}
	return styled(faintStyle, "enter open  s sort ("+Orders[m.by]+direction+")  / filter  p pause  ? help  q quit")
}

func stateStyle(s inspect.State) lipgloss.Style {
	switch s {
	case inspect.ConsumerStuck, inspect.ProducerStuck, inspect.Contradictory:
		return badStyle
	case inspect.Unconsumed:
		return doubtStyle
	}
	return noStyle
}
