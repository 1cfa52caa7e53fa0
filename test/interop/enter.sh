#!/bin/sh
# Runs a command inside the callers' root, with this checkout's programs in /opt/picorelay. It works in a
# mount namespace of its own, so that nothing is mounted on the machine and nothing has to be undone:
#   unshare --mount sh enter.sh ROOT PROJECT NODE COMMAND [ARGUMENT …]
set -eu
root=$1 project=$2 node=$3
shift 3
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir -p "$root/opt/picorelay"
for part in bin dist node_modules package.json; do
  target=$root/opt/picorelay/$part
  if [ -d "$project/$part" ]; then mkdir -p "$target"; else [ -e "$target" ] || : > "$target"; fi
  mount --bind "$project/$part" "$target"
  mount -o remount,bind,ro "$target"
done
# The build names its node by absolute path; a node below /root has to be reachable for other users.
chmod 711 "$root/root"
mkdir -p "$(dirname "$root$node")"
[ -e "$root$node" ] || : > "$root$node"
mount --bind "$node" "$root$node"
exec chroot "$root" "$@"
