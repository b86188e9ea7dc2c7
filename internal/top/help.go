package top

import "strings"

// help is the text of the help screen. It fits a terminal of 80 columns and 24 lines.
const help = `
  enter right  open the ring: its records as they come, owners, programs, pins
  up down k j  select; also pgup pgdn home end
  s S r        sort by fill, rate, lag, lost, state, name, id; S back, r reverses
  /            filter by words in id, name, type, owner, state; esc clears it

In a ring:
  left right   scroll its records sideways; w wraps them
  up down      scroll back to earlier records; also pgup pgdn home end
  esc          back to the list

  p space pause      ? h this help      q ctrl-c quit

  IN/S OUT/S   bytes produced and consumed per second; HISTORY is IN/S over time
  LAG HIGH     age of the oldest pending record; largest backlog seen
  FULL         time spent at least 15/16 full: records may have been refused
  LOST         bytes overwritten before they were consumed (overwrite mode), or
               refused by a full user ring; --drops counts others, and shows
               how many records they were in DROPS
  STATE        idle; flowing; nobody: data is pending, no process consumes;
               CONSUMER: data is pending, the consumer does not advance;
               PRODUCER: the oldest record stays reserved; WRONG: bad positions`

// helpIndent is the column at which explanations begin.
const helpIndent = 15

// helpScreen returns the lines of the help that are on the screen, wrapped. If there are more, keys scroll.
func (m *Model) helpScreen() []line {
	all := []line{styled(headStyle, "rbtool top").add(noStyle, ": consumes no records, changes nothing on the host")}
	for text := range strings.SplitSeq(strings.TrimPrefix(help, "\n"), "\n") {
		for _, part := range wrap(text, helpIndent, m.width) {
			all = append(all, plain(part))
		}
	}
	footer, room := "? back", max(m.height-1, 1)
	if len(all) > room {
		footer = "? back  up down scroll"
	}
	m.helpAt = min(m.helpAt, max(len(all)-room, 0))
	return m.withFooter(all[m.helpAt:], nil, styled(faintStyle, footer))
}
