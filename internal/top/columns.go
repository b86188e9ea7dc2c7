package top

import (
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/maptype"
)

// column is a column of the list.
type column struct {
	title string
	width int
	right bool
	text  func(m *Model, d *inspect.Map, width int) string
}

// columns are the columns of the list, from left to right. Each has the least width of a screen on which
// it is shown. DROPS is shown only if drops are counted. The last column gets the rest of the width: on 80 columns enough for the name of a process.
var columns = []struct {
	column
	from int
}{
	{column{"ID", 7, true, func(_ *Model, d *inspect.Map, _ int) string { return fmt.Sprint(d.ID) }}, 40},
	{column{"NAME", 15, false, func(_ *Model, d *inspect.Map, _ int) string { return d.Name }}, 0},
	{column{"TYPE", 12, false, func(_ *Model, d *inspect.Map, _ int) string { return maptype.Name(d.Type) }}, 124},
	{column{"SIZE", 5, true, func(_ *Model, d *inspect.Map, _ int) string { return bytes(float64(d.Bytes)) }}, 104},
	{column{"FILL", 8, false, fillText}, 89},
	{column{"%", 4, true, percentText}, 20},
	{column{"IN/S", 5, true, func(_ *Model, d *inspect.Map, _ int) string { return rateText(flow(d).ProducedRate) }}, 54},
	{column{"OUT/S", 5, true, func(_ *Model, d *inspect.Map, _ int) string { return rateText(flow(d).ConsumedRate) }}, 110},
	{column{"HISTORY", 8, false, func(m *Model, d *inspect.Map, w int) string { return m.glyphs.sparkline(flow(d).Rates, w) }}, 98},
	{column{"LAG", 5, true, func(_ *Model, d *inspect.Map, _ int) string { return ago(flow(d).Lag) }}, 60},
	{column{"HIGH", 5, true, highText}, 130},
	{column{"FULL", 5, true, func(_ *Model, d *inspect.Map, _ int) string { return ago(flow(d).Saturated) }}, 66},
	{column{"LOST", 5, true, lostText}, 72},
	{column{dropsTitle, 5, true, dropsText}, 30},
	{column{"STATE", 8, false, func(_ *Model, d *inspect.Map, _ int) string { return stateText(d) }}, 47},
	{column{"OWNER", 0, false, ownerText}, 75},
}

// dropsTitle is the title of the column of failed reservations.
const dropsTitle = "DROPS"

// fit returns the columns for a screen of the given width. On a wide screen the bar and the history are
// wider.
func (m *Model) fit(width int) []column {
	var list []column
	used := 0
	for _, c := range columns {
		if width < c.from || c.title == dropsTitle && m.cfg.Drops == nil {
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

func highText(_ *Model, d *inspect.Map, _ int) string {
	if d.Flow == nil {
		return "-"
	}
	return bytes(float64(d.Flow.HighWater))
}

// ownerText lists the owners whose names fit, and counts the others.
func ownerText(_ *Model, d *inspect.Map, width int) string {
	names := strings.Split(escape.String(d.OwnerNames()), ",")
	for shown := len(names); shown > 1; shown-- {
		text := strings.Join(names[:shown], ",")
		if shown < len(names) {
			text += fmt.Sprintf(" +%d", len(names)-shown)
		}
		if runewidth.StringWidth(text) <= width {
			return text
		}
	}
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%s +%d", names[0], len(names)-1)
}
