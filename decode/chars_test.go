package decode

import (
	"bytes"
	"testing"
)

// Only what the record says is used of a char array is shown after the first NUL, and only if it is text.
func TestTextsAfterTheFirstNUL(t *testing.T) {
	args := structOf(12, member("n", u32, 0), member("args", arrayOf(char, 8), 4))
	sized := structOf(12, member("args", arrayOf(char, 8), 0), member("args_size", s16, 8), member("len", u8, 10))
	flexible := structOf(4, member("text_len", u32, 0), member("text", arrayOf(char, 0), 4))
	for name, test := range map[string]struct {
		d      *Codec
		record string
		want   string
	}{
		"the end of the record":     {codecOf(t, args, Options{}), "\x01\x00\x00\x00ls\x00-l\x00", `{"n":1,"args":"ls\u0000-l"}`},
		"an empty text":             {codecOf(t, args, Options{}), "\x01\x00\x00\x00a\x00\x00b", `{"n":1,"args":"a\u0000\u0000b"}`},
		"a whole array":             {codecOf(t, args, Options{}), "\x01\x00\x00\x00ls\x00-l\x00\x00\x00", `{"n":1,"args":"ls"}`},
		"no text":                   {codecOf(t, args, Options{}), "\x01\x00\x00\x00ls\x00\x01\x02", `{"n":1,"args":"ls"}`},
		"no UTF-8":                  {codecOf(t, args, Options{}), "\x01\x00\x00\x00ls\x00\xff", `{"n":1,"args":"ls"}`},
		"no NUL":                    {codecOf(t, args, Options{}), "\x01\x00\x00\x00ls", `{"n":1,"args":"ls"}`},
		"a size":                    {codecOf(t, sized, Options{}), "ls\x00-l\x00xx\x06\x00\x00\x00", `{"args":"ls\u0000-l","args_size":6,"len":0}`},
		"a size of the first text":  {codecOf(t, sized, Options{}), "ls\x00-l\x00xx\x03\x00\x00\x00", `{"args":"ls","args_size":3,"len":0}`},
		"a size before the NUL":     {codecOf(t, sized, Options{}), "ls\x00-l\x00xx\x01\x00\x00\x00", `{"args":"ls","args_size":1,"len":0}`},
		"a size beyond the array":   {codecOf(t, sized, Options{}), "ls\x00-l\x00xx\xff\x7f\x00\x00", `{"args":"ls\u0000-l\u0000xx","args_size":32767,"len":0}`},
		"a negative size":           {codecOf(t, sized, Options{}), "ls\x00-l\x00xx\xff\xff\x00\x00", `{"args":"ls","args_size":-1,"len":0}`},
		"the length of all":         {codecOf(t, sized, Options{}), "ls\x00-l\x00xx\x00\x00\x08\x00", `{"args":"ls","args_size":0,"len":8}`},
		"a flexible array":          {codecOf(t, flexible, Options{}), "\x04\x00\x00\x00a\x00b\x00garbage", `{"text_len":4,"text":"a\u0000b"}`},
		"a record without the size": {codecOf(t, sized, Options{Prefix: true}), "ls\x00-l", `{"args":"ls\u0000-l"}`},
	} {
		out, err := test.d.AppendJSON(nil, []byte(test.record))
		if err != nil || string(out) != test.want {
			t.Errorf("%s: %s, %v\nwant %s", name, out, err, test.want)
		}
		back, err := test.d.AppendRecord(nil, out, 100)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if again, _ := test.d.AppendJSON(nil, back[:min(len(back), len(test.record))]); !bytes.Equal(again, out) {
			t.Errorf("%s: encoded and decoded again as %s", name, again)
		}
	}
}

func TestSeveralTextsAsText(t *testing.T) {
	args := structOf(12, member("n", u32, 0), member("args", arrayOf(char, 8), 4))
	for record, want := range map[string]string{
		"\x01\x00\x00\x00ls\x00-l\x00": "n=1 args=[ls,-l]",
		"\x01\x00\x00\x00a\x00\x00b":   `n=1 args=[a,"",b]`,
		"\x01\x00\x00\x00ls\x00":       "n=1 args=ls",
	} {
		if got, err := codecOf(t, args, Options{}).AppendText(nil, []byte(record)); string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}
