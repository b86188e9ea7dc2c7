package top

import (
	"testing"
	"time"
)

func TestFillBar(t *testing.T) {
	for _, tt := range []struct {
		fill    float64
		unicode string
		ascii   string
	}{
		{0, "    ", "    "},
		{1e-9, "▏   ", "#   "}, // a fill above 0 is visible
		{0.5, "██  ", "##  "},
		{0.53, "██▏ ", "##  "},
		{1, "████", "####"},
		{7, "████", "####"},
		{-1, "    ", "    "},
	} {
		if got := unicodeGlyphs.fillBar(tt.fill, 4); got != tt.unicode {
			t.Errorf("%v: %q, want %q", tt.fill, got, tt.unicode)
		}
		if got := asciiGlyphs.fillBar(tt.fill, 4); got != tt.ascii {
			t.Errorf("%v: %q, want %q", tt.fill, got, tt.ascii)
		}
	}
}

func TestSparkline(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   string
	}{
		{nil, "    "},
		{[]float64{0, 0}, "    "},
		{[]float64{1, 2, 4, 8}, "▂▃▅█"},
		{[]float64{9, 9, 0, 7, 7, 7}, " ███"},
		{[]float64{1, 1e12}, "  ▁█"},
	} {
		if got := unicodeGlyphs.sparkline(tt.values, 4); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.values, got, tt.want)
		}
	}
}

func TestFigures(t *testing.T) {
	for want, got := range map[string]string{
		"0": bytes(0), "999": bytes(999), "1K": bytes(1000), "1.5K": bytes(1536), "64K": bytes(65536), "16E": bytes(1 << 64),
		"-": rate(0), "3M/s": rate(3 << 20),
		"0/s": count(0) + "/s", "9.9": count(9.9), "10": count(9.96), "9950": "9950", "12k": count(12345), "15M": count(15e6),
		"--": ago(0) + "-", "5ms": ago(5 * time.Millisecond), "1.5s": ago(1500 * time.Millisecond), "90s": ago(90 * time.Second),
		"3m": ago(3 * time.Minute), "3h": ago(3 * time.Hour), "3d": ago(72 * time.Hour),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
