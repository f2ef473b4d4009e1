#!/bin/busybox sh
# The VM's first program: makes the root file system and hands over to `init.sh`, or to systemd, which starts that as its only service.
# /settings, written by xtask, says:
#   INIT      who is process 1: script or systemd
#   RUN       the run's folder on the host: init.sh, job.sh
#   LIBRARY   the folder on the host that holds lib/modules of the kernel
#   DRIVERS   the kernel modules that this script needs
#   SHOW      further folders of the host that are to be seen below /tmp and /var/tmp, separated by spaces
/bin/busybox --install -s /bin
set -e
. /settings
mkdir -p /proc /sys /dev /host /scratch /new
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe -a $DRIVERS

# The host's files, read-only; what is written goes to the scratch disk. /tmp and /var/tmp lie on that disk itself: overlayfs takes no
# overlay as its upper layer.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host
mount -t ext4 /dev/vda /scratch
mkdir -p /scratch/upper /scratch/work /scratch/tmp /scratch/var-tmp
chmod 1777 /scratch/tmp /scratch/var-tmp
mount -t overlay -o lowerdir=/host,upperdir=/scratch/upper,workdir=/scratch/work root /new
mount --bind /scratch/tmp /new/tmp
mount --bind /scratch/var-tmp /new/var/tmp
for folder in "$RUN" $SHOW; do
    mkdir -p "/new$folder"
    mount --bind "/host$folder" "/new$folder"
done
mkdir -p /new/lib/modules
mount --bind "/host$LIBRARY/lib/modules" /new/lib/modules

mount -t tmpfs -o mode=755 run /new/run
mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
[ "$INIT" = systemd ] || exec switch_root /new /bin/sh "$RUN/init.sh"

# None of what this host would start: the job needs only systemd itself.
mkdir -p /new/run/systemd/system
# The bus on which systemd is asked for units; without all that comes before it in a boot.
for unit in dbus.socket dbus.service; do
    mkdir "/new/run/systemd/system/$unit.d"
    printf '[Unit]\nDefaultDependencies=no\n' > "/new/run/systemd/system/$unit.d/alone.conf"
done
cat > /new/run/systemd/system/job.service <<END
[Unit]
Description=The job of this virtual machine
DefaultDependencies=no
Wants=dbus.service
After=dbus.service
[Service]
ExecStart=/bin/sh $RUN/init.sh systemd
StandardOutput=null
StandardError=kmsg
KillMode=process
Delegate=yes
TasksMax=infinity
OOMPolicy=continue
LimitNOFILE=524288
END
exec switch_root /new /lib/systemd/systemd --unit=job.service
