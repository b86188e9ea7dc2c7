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
			m.back, m.view = m.view, helpView
			return nil
		}
		m.view = m.back
	case "esc", "backspace", "left":
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
		if m.view == listView {
			return m.listKey(msg)
		}
	}
	return nil
}

func (m *Model) listKey(msg tea.KeyPressMsg) tea.Cmd {
	switch msg.String() {
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-m.listHeight())
	case "pgdown":
		m.move(m.listHeight())
	case "home", "g":
		m.move(-1 << 30)
	case "end", "G":
		m.move(1 << 30)
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
	if len(list) == 0 {
		return
	}
	m.selected = list[min(max(m.index(list)+by, 0), len(list)-1)].ID
}

// index returns the index of the selected row, or 0 if that row is no longer in list.
func (m *Model) index(list []*inspect.Map) int {
	return max(slices.IndexFunc(list, func(d *inspect.Map) bool { return d.ID == m.selected }), 0)
}
