package top

import (
	"slices"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/rbtool/rbtool/inspect"
)

// key handles the press of a key.
func (m *Model) key(msg tea.KeyPressMsg) tea.Cmd {
	if msg.String() == "ctrl+c" {
		return tea.Quit
	}
	if m.typing {
		m.typeFilter(msg)
		return nil
	}
	switch msg.String() {
	case "q":
		return tea.Quit
	case "?", "h":
		if m.view != helpView {
			m.back, m.view, m.helpAt = m.view, helpView, 0
			return nil
		}
		m.view = m.back
	case "esc", "backspace":
		switch m.view {
		case helpView:
			m.view = m.back
		case ringView:
			m.leave()
		default:
			m.filter = ""
		}
	case "p", "space":
		m.paused = !m.paused
	default:
		switch m.view {
		case listView:
			return m.listKey(msg)
		case ringView:
			m.ringKey(msg)
		case helpView:
			m.helpAt = max(m.helpAt+steps(msg, m.listHeight()), 0)
		}
	}
	return nil
}

// steps returns by how many rows a key moves, down if the number is positive, on a screen of the given height.
func steps(msg tea.KeyPressMsg, height int) int {
	const all = 1 << 30
	switch msg.String() {
	case "up", "k":
		return -1
	case "down", "j":
		return 1
	case "pgup":
		return -height
	case "pgdown":
		return height
	case "home", "g":
		return -all
	case "end", "G":
		return all
	}
	return 0
}

// sideways is the number of columns by which a key scrolls records.
const sideways = 16

func (m *Model) ringKey(msg tea.KeyPressMsg) {
	switch msg.String() {
	case "left":
		m.column = max(m.column-sideways, 0)
	case "right":
		m.column += sideways
	case "w":
		m.wrapped = !m.wrapped
	default:
		m.skipped = max(m.skipped-steps(msg, m.listHeight()/2), 0)
	}
}

func (m *Model) listKey(msg tea.KeyPressMsg) tea.Cmd {
	switch msg.String() {
	case "s":
		m.by = (m.by + 1) % orders
	case "S":
		m.by = (m.by + orders - 1) % orders
	case "r":
		m.reverse = !m.reverse
	case "/":
		m.typing = true
	case "enter", "right":
		return m.enter()
	default:
		m.move(steps(msg, m.listHeight()))
	}
	return nil
}

// typeFilter handles the press of a key while the user types the filter.
func (m *Model) typeFilter(msg tea.KeyPressMsg) {
	switch msg.String() {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	case "ctrl+u":
		m.filter = ""
	default:
		m.paste(msg.Text)
	}
}

// paste appends text to the filter if the user is typing it.
func (m *Model) paste(text string) {
	if m.typing {
		m.filter += text
	}
}

// move moves the selection by a number of rows, up if by is negative.
func (m *Model) move(by int) {
	list := m.rows()
	if len(list) == 0 || by == 0 {
		return
	}
	m.selected = list[min(max(m.index(list)+by, 0), len(list)-1)].ID
}

// index returns the index of the selected row, or 0 if that row is no longer in list.
func (m *Model) index(list []*inspect.Map) int {
	return max(slices.IndexFunc(list, func(d *inspect.Map) bool { return d.ID == m.selected }), 0)
}
