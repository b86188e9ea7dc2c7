package harness

import "slices"

// quantile returns the value below which the fraction q of values lies, with linear interpolation
// between neighbours.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// Quantile sorts values in place, and returns the value below which the fraction q of them lies.
func Quantile(values []uint64, q float64) float64 {
	slices.Sort(values)
	return float64(values[int(q*float64(len(values)-1))])
}

// ratios divides the figure of each round by that of the same round in base.
func ratios(figures, base []float64) []float64 {
	rel := make([]float64, len(figures))
	for i := range figures {
		rel[i] = figures[i] / base[i]
	}
	return rel
}
