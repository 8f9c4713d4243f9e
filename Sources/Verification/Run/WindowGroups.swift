/// How windows are grouped when not all go through the layers together.
package enum WindowGroups {
  /// Cuts a row of sizes into as few groups as have at most `capacity` each, the largest of them as small as it can be.
  package static func balanced(_ sizes: [Int], capacity: Int) -> [Range<Int>] {
    let count = cut(sizes, capacity).count
    var (low, high) = (sizes.max() ?? 0, capacity)
    while low < high {
      let middle = (low + high) / 2
      if cut(sizes, middle).count <= count { high = middle } else { low = middle + 1 }
    }
    return cut(sizes, low)
  }

  private static func cut(_ sizes: [Int], _ capacity: Int) -> [Range<Int>] {
    var groups: [Range<Int>] = []
    var (first, sum) = (0, 0)
    for (index, size) in sizes.enumerated() {
      if index > first && sum + size > capacity {
        groups.append(first..<index)
        (first, sum) = (index, 0)
      }
      sum += size
    }
    return groups + (first < sizes.count ? [first..<sizes.count] : [])
  }
}
