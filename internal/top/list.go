package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/maptype"
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
		lines = helpLines
	case ringView:
		lines = m.ringLines()
	default:
		lines = m.listLines()
	}
	return render(lines, m.width, m.height)
}

// frameLines is the number of lines on the screen besides the rows of the list: title, column heads,
// footer.
const frameLines = 3

// listHeight returns the number of rows that fit on the screen.
func (m *Model) listHeight() int { return max(m.height-frameLines, 1) }

func (m *Model) listLines() []line {
	list := m.rows()
	columns := fit(m.width)
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
	case len(list) == 0:
		lines = append(lines, plain("nothing matches the filter; esc clears it"))
	}
	for len(lines) < m.height-1 {
		lines = append(lines, nil)
	}
	lines = lines[:min(len(lines), max(m.height-1, 1))]
	return append(lines, m.footer())
}

// title returns the first line: a summary of the host.
func (m *Model) title() line {
	if m.sample == nil {
		return styled(headStyle, "rbtool top")
	}
	rings, arenas, stuck, produced := 0, 0, 0, 0.0
	for i := range m.sample.Maps {
		d := &m.sample.Maps[i]
		if d.Flow == nil {
			arenas++
			continue
		}
		rings++
		produced += d.Flow.ProducedRate
		if d.Flow.State == inspect.ConsumerStuck || d.Flow.State == inspect.ProducerStuck {
			stuck++
		}
	}
	parts := []string{fmt.Sprintf("%d rings", rings), rate(produced)}
	if arenas > 0 {
		parts = append(parts, fmt.Sprintf("%d without positions", arenas))
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
	if m.sample != nil && len(m.sample.Notes) > 0 && m.width >= 120 {
		return styled(faintStyle, "note: "+m.sample.Notes[0])
	}
	return styled(faintStyle, "enter open  s sort ("+orderNames[m.by]+direction+")  / filter  p pause  ? help  q quit")
}

// column is a column of the list.
type column struct {
	title string
	width int
	right bool
	text  func(m *Model, d *inspect.Map, width int) string
}

// columns are the columns of the list, from left to right. Each has the least width of a screen on which
// it is shown. The last column gets the rest of the width.
var columns = []struct {
	column
	from int
}{
	{column{"ID", 7, true, func(_ *Model, d *inspect.Map, _ int) string { return fmt.Sprint(d.ID) }}, 40},
	{column{"NAME", 15, false, func(_ *Model, d *inspect.Map, _ int) string { return d.Name }}, 0},
	{column{"TYPE", 12, false, func(_ *Model, d *inspect.Map, _ int) string { return maptype.Name(d.Type) }}, 110},
	{column{"SIZE", 5, true, func(_ *Model, d *inspect.Map, _ int) string { return bytes(float64(d.Bytes)) }}, 88},
	{column{"FILL", 8, false, fillText}, 30},
	{column{"%", 4, true, percentText}, 20},
	{column{"IN/S", 5, true, func(_ *Model, d *inspect.Map, _ int) string { return rateText(flow(d).ProducedRate) }}, 54},
	{column{"OUT/S", 5, true, func(_ *Model, d *inspect.Map, _ int) string { return rateText(flow(d).ConsumedRate) }}, 94},
	{column{"HISTORY", 8, false, func(m *Model, d *inspect.Map, w int) string { return m.glyphs.sparkline(flow(d).Rates, w) }}, 78},
	{column{"LAG", 5, true, lagText}, 70},
	{column{"HIGH", 5, true, highText}, 100},
	{column{"FULL", 5, true, func(_ *Model, d *inspect.Map, _ int) string { return ago(flow(d).Saturated) }}, 120},
	{column{"STATE", 8, false, func(_ *Model, d *inspect.Map, _ int) string { return stateText(d) }}, 47},
	{column{"OWNER", 0, false, func(_ *Model, d *inspect.Map, _ int) string { return d.OwnerNames() }}, 75},
}

// fit returns the columns for a screen of the given width. On a wide screen the bar and the history are
// wider.
func fit(width int) []column {
	var list []column
	used := 0
	for _, c := range columns {
		if width < c.from {
			continue
		}
		if width >= 140 && (c.title == "FILL" || c.title == "HISTORY") {
			c.width = 16
		}
		if c.title == "OWNER" {
			c.width = max(width-used, 1)
		}
		used += c.width + 1
		list = append(list, c.column)
	}
	return list
}

func (m *Model) header(columns []column) string {
	var cells []string
	for _, c := range columns {
		cells = append(cells, m.glyphs.cell(c.title, c.width, c.right))
	}
	return strings.Join(cells, " ")
}

func (m *Model) row(columns []column, d *inspect.Map, selected bool) line {
	var cells []string
	for _, c := range columns {
		cells = append(cells, m.glyphs.cell(c.text(m, d, c.width), c.width, c.right))
	}
	style := stateStyle(flow(d).State)
	if selected {
		style = style.Inherit(selectedStyle)
	}
	return styled(style, strings.Join(cells, " "))
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

// stateText returns one word for the state of a map. The help screen explains these words.
func stateText(d *inspect.Map) string {
	switch s := flow(d).State; s {
	case "":
		return "-"
	case inspect.ConsumerStuck:
		return "CONSUMER"
	case inspect.ProducerStuck:
		return "PRODUCER"
	case inspect.Contradictory:
		return "WRONG"
	case inspect.Unconsumed:
		return "nobody"
	default:
		return string(s)
	}
}

func fillText(m *Model, d *inspect.Map, width int) string {
	if d.Positions == nil {
		return ""
	}
	return m.glyphs.fillBar(d.Positions.Fill, width)
}

func percentText(_ *Model, d *inspect.Map, _ int) string {
	if d.Positions == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", 100*d.Positions.Fill)
}

// rateText formats a rate without "/s", which is in the head of the column.
func rateText(n float64) string {
	if n <= 0 {
		return "-"
	}
	return bytes(n)
}

func lagText(_ *Model, d *inspect.Map, _ int) string {
	return ago(flow(d).Lag)
}

func highText(_ *Model, d *inspect.Map, _ int) string {
	if d.Flow == nil {
		return "-"
	}
	return bytes(float64(d.Flow.HighWater))
}

var helpLines = []line{
	styled(headStyle, "rbtool top"),
	nil,
	plain("  up down k j pgup pgdn home end   select a ring"),
	plain("  enter right                      open it: live records, owners, programs"),
	plain("  esc left                         back; in the list: clear the filter"),
	plain("  s S                              sort by fill, rate, lag, state, name, id"),
	plain("  r                                reverse the order"),
	plain("  /                                filter by words in id, name, type, owner or state"),
	plain("  p space                          pause"),
	plain("  q ctrl-c                         quit"),
	nil,
	plain("  IN/S OUT/S  bytes produced and consumed per second; HISTORY is IN/S over time"),
	plain("  LAG         age of the oldest pending record"),
	plain("  HIGH FULL   largest backlog seen; time spent at least 15/16 full"),
	plain("  STATE       idle; flowing; CONSUMER: data is pending, the consumer does not advance;"),
	plain("              PRODUCER: the oldest record stays reserved; nobody: data is pending,"),
	plain("              no process consumes; WRONG: the positions contradict each other"),
	nil,
	plain("  top consumes no records and changes nothing on the host."),
}
