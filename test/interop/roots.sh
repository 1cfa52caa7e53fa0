#!/bin/bash
# Makes one Debian root per mail server, and one for the programs that call sendmail, because the
# servers conflict with each other as packages. The tests enter them by chroot; nothing is installed
# on the machine itself. Needs root, mmdebstrap and apt's package lists; takes one to two minutes.
# A root that is up to date is kept, so that a second run costs nothing.
#   bash test/interop/roots.sh [postfix|exim|opensmtpd|dovecot|aiosmtpd|callers|fresh|peers …]
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
self=$(readlink -f "$0")
roots=${PICORELAY_INTEROP_ROOTS:-/var/cache/picorelay-interop}
stamp=$(sha256sum < "$self")

die() { echo "roots.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die 'must be run by root'
command -v mmdebstrap > /dev/null || die 'mmdebstrap is not installed'
mkdir -p "$roots"
exec 9> "$roots/.making"
flock 9

fresh() { [ "$(cat "$roots/$1/.stamp" 2> /dev/null)" = "$stamp" ]; }

# The machine's own package sources and fetch settings, so that a local mirror serves here too.
make_base() {
  local options=() line sources
  rm -rf "$roots/base"
  sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' 'Origin: Debian' | sort -u)
  [ -n "$sources" ] || die 'apt knows no Debian packages: run apt-get update'
  while read -r line; do options+=("--aptopt=$line"); done < <(
    apt-config dump | grep -E '^Acquire::(https?::(Proxy|CaInfo|Verify-)|Check-(Valid-Until|Date))[^ ]* "' || true
  )
  mmdebstrap --quiet --mode=root --variant=apt --include=openssl,libatomic1,libstdc++6 \
    --dpkgopt=force-unsafe-io "${options[@]}" "$(. /etc/os-release; echo "$VERSION_CODENAME")" \
    "$roots/base" - <<< "$sources"
  cp -L /etc/resolv.conf "$roots/base/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' > "$roots/base/usr/sbin/policy-rc.d"
  chmod 755 "$roots/base/usr/sbin/policy-rc.d"
  printf '127.0.0.1 localhost relay.test relay\n' > "$roots/base/etc/hosts"
  echo relay.test > "$roots/base/etc/mailname"
  chroot "$roots/base" useradd -m -u 2000 -s /bin/sh tester
  make_certificates "$roots/base/srv/tls"
  chroot "$roots/base" apt-get update -qq
}

# A certificate authority of our own and one certificate for the loopback, the same in every root;
# and a second authority that has signed nothing.
make_certificates() {
  local dir=/srv/tls
  mkdir -p "$1"
  chroot "$roots/base" sh -euc '
    cd "$1"
    for ca in ca stranger; do
      openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=interop $ca" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
        -keyout "$ca-key.pem" -out "$ca.pem"
    done
    openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out relay.csr
    printf "subjectAltName=DNS:localhost,DNS:relay.test,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n" > ext
    openssl x509 -req -days 3650 -in relay.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial \
      -extfile ext -out cert.pem
    chmod 600 key.pem
    rm relay.csr ext
  ' sh "$dir" > "$roots/certificates.log" 2>&1
}

packages() {
  case $1 in
    postfix) echo postfix sasl2-bin libsasl2-modules libsasl2-modules-db ;;
    exim) echo exim4-daemon-light ;;
    opensmtpd) echo opensmtpd ;;
    dovecot) echo dovecot-core dovecot-submissiond dovecot-lmtpd ;;
    aiosmtpd) echo python3-aiosmtpd ;;
    callers)
      echo cron at bsd-mailx s-nail mailutils mutt php-cli git git-email libmailtools-perl dot-forward
      echo logwatch swaks python3 monitoring-plugins-basic monitoring-plugins-standard
      # What reads reports.
      echo python3-flufl.bounce libmail-deliverystatus-bounceparser-perl bsdutils
      ;;
    # What a small host has: no mail server and no node.
    fresh) echo adduser cron mount ;;
    # The same, and other relays to move from, each with what it needs in a folder of its own.
    peers) echo adduser cron mount ca-certificates netbase ;;
    *) die "no root is called $1" ;;
  esac
}

# Satisfies the mail-transport-agent dependency of bsd-mailx while /usr/sbin/sendmail stays free.
install_placeholder() {
  local tree
  tree=$(mktemp -d)
  mkdir "$tree/DEBIAN"
  printf '%s\n' 'Package: interop-sendmail' 'Version: 1' 'Architecture: all' \
    'Maintainer: nobody <nobody@relay.test>' 'Provides: mail-transport-agent' \
    'Description: stands for the sendmail under test' > "$tree/DEBIAN/control"
  chmod 755 "$tree"
  dpkg-deb --build "$tree" "$1/tmp/placeholder.deb" > /dev/null
  chroot "$1" dpkg -i /tmp/placeholder.deb > /dev/null
  rm -r "$tree"
}

# They conflict with each other: a test installs the one that it wants.
fetch_peers() {
  local peer
  for peer in nullmailer msmtp dma ssmtp esmtp-run postfix; do
    mkdir -p "$1/srv/peers/$peer/partial"
    chroot "$1" apt-get install -y -qq --no-install-recommends --download-only \
      -o "Dir::Cache::archives=/srv/peers/$peer" "$peer" < /dev/null
    rm -rf "$1/srv/peers/$peer/partial" "$1/srv/peers/$peer/lock"
  done
}

make_root() {
  local name=$1 making="$roots/$1.making"
  rm -rf "$making" "${roots:?}/$name"
  cp -a "$roots/base" "$making"
  [ "$name" != callers ] || install_placeholder "$making"
  # A host name of its own, so that no install script asks a name server for the machine's.
  # shellcheck disable=SC2046
  unshare --uts sh -c 'hostname relay && exec chroot "$@"' sh "$making" \
    apt-get install -y -qq --no-install-recommends $(packages "$name") < /dev/null \
    > "$roots/$name.log" 2>&1 || { tail -n 40 "$roots/$name.log" >&2; die "$name: not installed"; }
  [ "$name" != peers ] || fetch_peers "$making" >> "$roots/$name.log" 2>&1 \
    || { tail -n 20 "$roots/$name.log" >&2; die 'peers: not fetched'; }
  [ -z "$(ls "$making"/usr/sbin/sendmail 2> /dev/null)" ] || [ "$name" != callers ] \
    || die 'callers: a package brought a sendmail of its own'
  : > "$making/etc/resolv.conf" # nothing is looked up while testing
  chroot "$making" apt-get clean
  rm -rf "$making"/var/lib/apt/lists/*
  printf '%s\n' "$stamp" > "$making/.stamp"
  mv "$making" "$roots/$name"
  echo "roots.sh: $name is ready"
}

[ $# -gt 0 ] || set -- postfix exim opensmtpd dovecot aiosmtpd callers fresh peers
for name in "$@"; do packages "$name" > /dev/null; done
for name in "$@"; do
  fresh "$name" && continue
  # A root made with other certificates than the base's would not matter: each test reads its own.
  if ! fresh base; then make_base; printf '%s\n' "$stamp" > "$roots/base/.stamp"; fi
  make_root "$name"
done
