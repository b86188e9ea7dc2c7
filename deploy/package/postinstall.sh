#!/bin/sh
# The exporter is not started: its administrator enables it (systemctl enable --now rbtool-exporter).
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	systemctl try-restart rbtool-exporter.service || true # after an upgrade
fi
