package arena

import (
	"fmt"
	"net/netip"
	"strings"
)

// networks is a flag for a list of networks.
type networks []netip.Prefix

func (n *networks) Set(text string) error {
	if text == "any" {
		*n = append(*n, netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0))
		return nil
	}
	for word := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(word)
		if a, notPrefix := netip.ParseAddr(word); notPrefix == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			return fmt.Errorf("%q is neither any nor a network such as 10.0.0.0/8 or 2001:db8::/32", word)
		}
		*n = append(*n, p)
	}
	return nil
}

func (n *networks) Type() string { return "networks" }

func (n *networks) String() string {
	var words []string
	for _, p := range *n {
		words = append(words, p.String())
	}
	return strings.Join(words, ",")
}
