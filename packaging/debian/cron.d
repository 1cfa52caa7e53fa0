# Offers what waits to the relay. Where systemd runs, picorelay.timer does this.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
MAILTO=root
* * * * * picorelay [ -d /run/systemd/system ] || [ ! -x /usr/bin/picorelay-cron ] || picorelay-cron
