# What a fence costs, for bash: `. in-turn.sh`, then
#
#     in_turn ROUNDS BARE FENCED [AT-MOST]
#
# runs two commands of this shell one right after the other, ROUNDS times, and says how long each takes (the median), and how many
# times as long FENCED takes as BARE within a round (the median, the smallest, the largest). What they print is left out. It
# fails when one of them fails, or when FENCED takes more than AT-MOST times as long.

in_turn() {
    local round way begun seconds times=''
    for ((round = 0; round < $1; round++)); do
        for way in "$2" "$3"; do
            begun=${EPOCHREALTIME/[.,]/}
            (eval "$way") >/dev/null || { echo "in_turn: this failed: $way" >&2; return 1; }
            seconds=$((${EPOCHREALTIME/[.,]/} - begun))
            times+="$seconds "
        done
        times+=$'\n'
    done
    LC_ALL=C awk -v at_most="${4-}" '
        function sort(list, n, i, j, kept) {
            for (i = 2; i <= n; i++) {
                kept = list[i]
                for (j = i - 1; j > 0 && list[j] > kept; j--) list[j + 1] = list[j]
                list[j + 1] = kept
            }
        }
        function median(list, n) { return (list[int((n + 1) / 2)] + list[int(n / 2) + 1]) / 2 }
        NF == 2 { bare[++n] = $1; fenced[n] = $2; ratio[n] = $2 / ($1 > 0 ? $1 : 1) }
        END {
            sort(bare, n); sort(fenced, n); sort(ratio, n)
            printf "bare %.3f s, fenced %.3f s: %.2f times as long (%.2f to %.2f)\n", median(bare, n) / 1e6, median(fenced, n) / 1e6,
                median(ratio, n), ratio[1], ratio[n]
            if (at_most != "" && median(ratio, n) > at_most + 0) { print "in_turn: that is more than " at_most; exit 1 }
        }' <<<"$times"
}
