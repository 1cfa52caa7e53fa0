#!/bin/sh
# Holds a throwaway copy of a Debian root, as it was made: an overlay in memory, in name spaces of its own,
# so that whatever is installed, started or broken in it is gone with this process.
#   unshare --mount --uts --pid --fork --kill-child sh fresh.sh ROOT FOLDER
# FOLDER is an empty folder to mount it on. Prints "ready"; others enter with nsenter --all.
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
hostname host.test
echo 127.0.0.1 host.test localhost relay.test > "$2/root/etc/hosts"
rm -f "$2/root/etc/mailname"
cd "$2/root"
# The first process of its name space: it takes in what others leave behind, and waits.
exec chroot . sh -c 'echo ready; while :; do sleep 3600 & wait $!; done'
