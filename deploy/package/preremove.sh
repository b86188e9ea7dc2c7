#!/bin/sh
# The argument is "remove" from dpkg and 0 from rpm if this is no upgrade.
set -e
case $1 in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now rbtool-exporter.socket rbtool-exporter.service || true
	fi
	;;
esac
