internal import CKernels
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif
internal import Synchronization

/// What the system says about this process.
public enum ProcessFacts {
  /// The largest resident memory so far, in bytes.
  public static var peakResidentBytes: UInt64 {
    #if os(Linux)
      // What `getrusage` says includes the process that this one was forked from, until it replaced its program.
      if let peak = status("VmHWM:") { return peak }
    #endif
    var usage = rusage()
    #if os(Linux)
      guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
      return UInt64(usage.ru_maxrss) * 1024
    #else
      guard getrusage(RUSAGE_SELF, &usage) == 0 else { return 0 }
      return UInt64(usage.ru_maxrss)
    #endif
  }

  /// Resident memory now, in bytes; the largest so far where the system does not say.
  public static var residentBytes: UInt64 {
    #if os(Linux)
      status("VmRSS:") ?? peakResidentBytes
    #else
      peakResidentBytes
    #endif
  }

  #if os(Linux)
    /// A size of the system's page on this process, in bytes.
    private static func status(_ key: String) -> UInt64? {
      lines(of: "/proc/self/status").first { $0.hasPrefix(key) }.flatMap { number(in: $0) }.map { $0 * 1024 }
    }

    private static func number(in line: String) -> UInt64? {
      UInt64(String(decoding: line.utf8.filter { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }, as: UTF8.self))
    }

    /// Not through `ReadableFile`, which counts what it reads.
    private static func lines(of path: String) -> [String] {
      guard let file = fopen(path, "r") else { return [] }
      defer { fclose(file) }
      var lines: [String] = []
      var line = [CChar](repeating: 0, count: 256)
      while fgets(&line, Int32(line.count), file) != nil {
        lines.append(String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
      }
      return lines
    }
  #endif

  /// Memory of the machine, or what the control group of the process allows of it, in bytes.
  public static var machineMemory: UInt64 {
    let pages = sysconf(Int32(_SC_PHYS_PAGES))
    let all = pages > 0 ? UInt64(pages) * UInt64(sysconf(Int32(_SC_PAGESIZE))) : UInt64.max
    #if os(Linux)
      return min(all, lines(of: "/sys/fs/cgroup/memory.max").first.flatMap { number(in: $0) } ?? all)
    #else
      return all
    #endif
  }

  /// Bytes that the process has read from files so far, each reading of the same bytes counted.
  public static var bytesRead: UInt64 { ReadableFile.byteCounter.load(ordering: .relaxed) }
}

/// How this process uses memory.
public enum ProcessMemory {
  /// Keeps freed buffers for the next ones. Tiles are megabytes, and glibc gives each back to the system when it is freed:
  /// half the time of a quantizer then goes into pages that are mapped and cleared again. What is held stays at the peak
  /// that the tiles have at once.
  public static func keepsFreedBuffers() {
    ck_keep_freed_memory(32 << 20, 512 << 20)
  }

  /// Gives large buffers back to the system when they are freed. A forward pass has few of them, of many sizes, and works
  /// long on each: kept ones would seldom fit the next, and the resident memory would be several times what is in use.
  public static func returnsFreedBuffers() {
    ck_keep_freed_memory(2 << 20, 8 << 20)
  }
}
