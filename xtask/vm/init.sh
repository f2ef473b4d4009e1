# What an init system would have set up before anybody logs in, then the job, then the end. Process 1 of the VM; with the argument `systemd`, a
# service of systemd's, which has done its part: see initrd.sh.
mkdir -p /dev/pts /dev/shm /dev/mqueue
if [ "$1" = systemd ]; then
    # Its own unit for it is one of many that nobody here waits for.
    mount -t mqueue mqueue /dev/mqueue
else
    mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs -o mode=1777 shm /dev/shm
    mount -t mqueue mqueue /dev/mqueue
    mount -t securityfs securityfs /sys/kernel/security
    # As systemd mounts it, and with the controllers that it enables; the job stands in a cgroup of its own, as a login session does.
    mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
    echo "+cpuset +cpu +io +memory +pids" > /sys/fs/cgroup/cgroup.subtree_control
    mkdir /sys/fs/cgroup/job
    echo $$ > /sys/fs/cgroup/job/cgroup.procs
    mount --make-rshared /
fi
ip link set lo up
echo remora-vm > /proc/sys/kernel/hostname
ulimit -H -n 524288

output=/dev/hvc0
# Ports of one device: the first is the console, the second takes the exit status.
status=$(ls /dev/vport*p1)
setsid --ctty --wait sh "${0%/*}/job.sh" < $output > $output 2>&1
echo $? > "$status"
sync
exec busybox poweroff -f
