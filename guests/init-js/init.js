// The example: says what it runs on, signals that the guest is up, switches off.
mount("proc", "/proc");

var version = readFile("/proc/version").split(" ")[2];
var memory = /MemTotal: +(\d+) kB/.exec(readFile("/proc/meminfo"))[1];

print("Linux " + version + ", " + Math.round(memory / 1024) + " MiB");
ready();
poweroff();
