# rooms.awk - print room `want` and every room below it (transitively), highest first: the order in which libraries link.
# Usage: awk -v want=ROOM -f rooms.awk src/layers.txt
/^#/ || NF == 0 { next }
{
	room = $1
	sub(/:$/, "", room)
	order[++n] = room
	closure[room] = " " room " "
	for (i = 2; i <= NF; i++) {
		m = split(closure[$i], below, " ")
		for (j = 1; j <= m; j++)
			if (index(closure[room], " " below[j] " ") == 0)
				closure[room] = closure[room] below[j] " "
	}
}
END {
	for (k = n; k > 0; k--)
		if (index(closure[want], " " order[k] " "))
			printf "%s ", order[k]
}
